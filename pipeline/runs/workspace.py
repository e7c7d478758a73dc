"""The output folder of bare commands, `./dml-out/`, and its pointer to the latest store and run.

`latest.json` names them relative to the folder where they lie inside it, so the folder can be moved
or renamed as a whole; nothing is guessed from names or time stamps. A store may be at a URL.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal, overload

from cache.errors import InputError
from cache.places.urls import Location, is_url

FOLDER = Path("dml-out")
STORE = FOLDER / "features.zarr"
RUNS = FOLDER / "runs"
ABLATION = FOLDER / "ablation"
Kind = Literal["store", "run"]
_COMMAND = {"store": "dml extract", "run": "dml train"}
_OPTION = {"store": "--store PATH", "run": "its folder"}


@overload
def latest(kind: Literal["run"], folder: Path = ...) -> Path: ...
@overload
def latest(kind: Literal["store"], folder: Path = ...) -> Location: ...
def latest(kind: Kind, folder: Path = FOLDER) -> Location:
    """Find the store or run that was made last; raises InputError where there is none."""
    name = _read(folder).get(kind)
    if name is None:
        raise InputError(
            f"no {kind} was made here yet ({folder / 'latest.json'} names none): "
            f"run `{_COMMAND[kind]}` first, or name {_OPTION[kind]}"
        )
    if is_url(name):
        return name
    path = folder / name  # an absolute name stays as it is
    if not path.exists():
        raise InputError(
            f"the latest {kind} is not at {path} any more: run `{_COMMAND[kind]}` again, or name "
            f"{_OPTION[kind]}"
        )
    return path


def point(kind: Kind, path: Location, folder: Path = FOLDER) -> None:
    """Remember a finished store or run as the latest."""
    name = str(path) if is_url(path) else _name(Path(path).resolve(), folder.resolve())
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".latest.{os.getpid()}.part"
    part.write_text(json.dumps({**_read(folder), kind: name}, indent=2) + "\n", encoding="utf-8")
    part.replace(folder / "latest.json")


def _name(path: Path, folder: Path) -> str:
    inside = Path(os.path.relpath(path, folder))
    return str(path) if inside.parts[0] == ".." else inside.as_posix()


def _read(folder: Path) -> dict[str, str]:
    path = folder / "latest.json"
    if not path.exists():
        return {}
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): remove it and name the paths"
        ) from error
    if not isinstance(names, dict):
        raise InputError(f"{path} holds no JSON object: remove it and name the paths")
    return names
