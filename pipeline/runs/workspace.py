"""The output folder of bare commands, `./dml-out/`, and its pointer to the latest store and run.

`latest.json` names them relative to the folder where they lie inside it, so the folder can be moved
or renamed as a whole; nothing is guessed from names or time stamps.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

from cache.errors import InputError

FOLDER = Path("dml-out")
STORE = FOLDER / "features.zarr"
RUNS = FOLDER / "runs"
ABLATION = FOLDER / "ablation"
Kind = Literal["store", "run"]
_COMMAND = {"store": "dml extract", "run": "dml train"}
_OPTION = {"store": "--store PATH", "run": "its folder"}


def latest(kind: Kind, folder: Path = FOLDER) -> Path:
    """Find the store or run that was made last; raises InputError where there is none."""
    name = _read(folder).get(kind)
    if name is None:
        raise InputError(
            f"no {kind} was made here yet ({folder / 'latest.json'} names none): "
            f"run `{_COMMAND[kind]}` first, or name {_OPTION[kind]}"
        )
    path = folder / name  # an absolute name stays as it is
    if not path.exists():
        raise InputError(
            f"the latest {kind} is not at {path} any more: run `{_COMMAND[kind]}` again, or name "
            f"{_OPTION[kind]}"
        )
    return path


def point(kind: Kind, path: Path, folder: Path = FOLDER) -> None:
    """Remember a finished store or run as the latest."""
    inside = Path(os.path.relpath(path.resolve(), folder.resolve()))
    name = str(path.resolve()) if inside.parts[0] == ".." else inside.as_posix()
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".latest.{os.getpid()}.part"
    part.write_text(json.dumps({**_read(folder), kind: name}, indent=2) + "\n", encoding="utf-8")
    part.replace(folder / "latest.json")


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
