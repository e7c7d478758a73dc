"""Where an export goes: the model file, README.md and card.json, each whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cache.errors import DiskFullError, InputError
from cache.places.durable import sync_folder, sync_tree
from cache.places.urls import was_url
from pipeline.exporting.card import FORMAT

README, CARD = "README.md", "card.json"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_KNOWN = (".onnx", ".pt", ".safetensors")


@dataclass(frozen=True)
class Target:
    """The place of an export.

    Attributes:
        folder: where all three files go.
        model: name of the model file.
    """

    folder: Path
    model: str

    @property
    def files(self) -> tuple[Path, ...]:
        """The three files, the model first."""
        return tuple(self.folder / name for name in (self.model, README, CARD))


def target_of(out: Path, suffix: str) -> Target:
    """Tell a folder from a model file by its name.

    Raises:
        InputError: the name is that of another format, or a URL.
    """
    if was_url(out):
        raise InputError(f"exports are kept on this machine, {out} is a URL: choose another --out")
    if out.suffix == suffix and not out.is_dir():
        return Target(out.parent, out.name)
    if out.suffix in _KNOWN:
        raise InputError(
            f"--out {out} does not fit the format: expected a folder, or a file ending in {suffix}"
        )
    return Target(out, f"model{suffix}")


def refuse_unusable(target: Target, *, is_forced: bool) -> None:
    """Raise InputError where a file would be overwritten, or the place cannot be written to.

    Even a forced export replaces nothing but an earlier export.
    """
    folder = target.folder
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder} is no folder: choose another --out")
    taken = [file for file in target.files if os.path.lexists(file)]
    if taken and not is_forced:
        raise InputError(
            f"{taken[0]} exists: choose another --out, or replace that export with --force"
        )
    if taken and not _is_export(folder):
        raise InputError(
            f"{taken[0]} does not belong to an export of dml, and --force replaces nothing else: "
            "choose another --out"
        )
    above = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise InputError(f"cannot write into {above}: choose another --out")


def save(target: Target, files: Mapping[str, bytes]) -> None:
    """Write all files; a new folder appears when it is whole, else each file is replaced at once.

    Raises:
        DiskFullError: there is no room; nothing is changed.
        InputError: the place cannot be written to; nothing is changed.
    """
    folder = target.folder
    is_new = not folder.exists()
    beside = folder.parent if is_new else folder
    part = beside / f".{folder.name or 'export'}.{uuid.uuid4().hex[:8]}.part"
    try:
        part.mkdir(parents=True)
        for name, content in files.items():
            (part / name).write_bytes(content)
        sync_tree(part)
        if is_new:
            part.rename(folder)
        else:
            for name in files:
                (part / name).replace(folder / name)
        sync_folder(beside)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if error.errno in _FULL:
            raise DiskFullError(
                f"cannot write the export {folder}: {reason}; make room and export again"
            ) from error
        raise InputError(f"cannot write the export {folder}: {reason}; choose --out") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _is_export(folder: Path) -> bool:
    try:
        facts = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("format") == FORMAT
