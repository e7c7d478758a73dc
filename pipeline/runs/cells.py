"""The finished runs of an ablation on disk, so that none is trained again.

One small JSON file for each cell, `cells/DIGEST.json`: what decides it and, for each seed, what was
measured. The digest is taken over what decides it, so another epoch, label or version is another
file. Files are replaced in one step; more seeds of a cell come into the same file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.errors import DiskFullError, InputError
from cache.places.durable import replace_file
from cache.places.urls import was_url

Figures = dict[str, Any]
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Cells:
    """The folder of an ablation."""

    def __init__(self, folder: Path, store: Mapping[str, str]) -> None:
        """Look at a folder, which need not exist yet.

        Args:
            folder: of the ablation.
            store: what decides the store's part of the results, by name.

        Raises:
            InputError: the folder holds something else, or an ablation of another store, or cannot
                be written to.
        """
        self.folder = folder
        self._cells = folder / "cells"
        self._store = dict(store)
        _refuse_unusable(folder)
        for file in sorted(self._cells.glob("*.json")):
            self._refuse_other_store(_read(file)["decided_by"])
            break  # all cells of a folder are of one store

    def path(self, facts: Mapping[str, Any]) -> Path:
        """Name the file of a cell."""
        text = json.dumps(self._decided_by(facts), sort_keys=True)
        return self._cells / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"

    def load(self, facts: Mapping[str, Any]) -> dict[int, Figures]:
        """Read what was measured of a cell: seed -> figures."""
        path = self.path(facts)
        if not path.exists():
            return {}
        return {int(seed): figures for seed, figures in _read(path)["runs"].items()}

    def save(self, facts: Mapping[str, Any], runs: Mapping[int, Figures]) -> None:
        """Write what was measured of a cell.

        Raises:
            DiskFullError: there is no room.
            InputError: the folder cannot be written to.
        """
        by_seed = {str(seed): runs[seed] for seed in sorted(runs)}
        content = {"decided_by": self._decided_by(facts), "runs": by_seed}
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        write(self.path(facts), text.encode())

    def _decided_by(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        return {"store": self._store, **facts}

    def _refuse_other_store(self, decided_by: Mapping[str, Any]) -> None:
        earlier = decided_by["store"]
        for name in dict.fromkeys([*self._store, *earlier]):
            found, asked = earlier.get(name, "the first"), self._store.get(name, "the first")
            if found != asked:
                raise InputError(
                    f"{self.folder} holds results of a store with {name} {found[:12]}, this one "
                    f"has {asked[:12]}: choose another --out, or the right --store"
                )


def write(path: Path, content: bytes) -> None:
    """Write a file of an ablation in one step, with the folders above it.

    Raises:
        DiskFullError: there is no room.
        InputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if error.errno in _FULL:
            raise DiskFullError(
                f"cannot write {path}: {reason}; finished cells are kept: make room and run the "
                "same command again"
            ) from error
        raise InputError(f"cannot write {path}: {reason}; choose another --out") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not {"decided_by", "runs"} <= content.keys():
            raise ValueError("parts are missing")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged ({error}): remove it, the cell trains again"
        ) from error
    return dict(content)


def _refuse_unusable(folder: Path) -> None:
    """Raise InputError where the folder is none, holds other things or cannot be written to."""
    if was_url(folder):
        raise InputError(f"results are kept on this machine, {folder} is a URL: choose --out")
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder} is no folder: choose another --out")
    if folder.is_dir() and not (folder / "cells").is_dir() and any(folder.iterdir()):
        raise InputError(
            f"{folder} holds other things than an ablation: choose another --out or an empty folder"
        )
    above = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise InputError(f"cannot write into {above}: choose another --out")
