"""A run on disk: what was asked for, what happened, what was learned.

    config.json          the settings; `dml train --config RUN` repeats them
    record.json          store, protocol, noise, history, versions, hardware
    weights.safetensors  transform, head and the loss's parameters
    labels.parquet       the training rows: id, label, given_label, score, weight

A run is written into a hidden folder and renamed when it is whole.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from cache.errors import DiskFullError, InputError
from cache.places.urls import was_url
from pipeline.choices.settings import CONFIG_FILE, Settings

_RECORD, _WEIGHTS, _LABELS = "record.json", "weights.safetensors", "labels.parquet"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder.
        settings: what was asked for.
        record: what happened, as in `record.json`.
    """

    path: Path
    settings: Settings
    record: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> Run:
        """Read a run; raises InputError where there is none."""
        if not is_run(path):
            raise InputError(f"no run at {path}: train one with `dml train --run {path}`")
        try:
            record = json.loads((path / _RECORD).read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path / _RECORD} is damaged ({error}): train again") from error
        return cls(path, Settings.load(path / CONFIG_FILE), record)

    def weights(self) -> dict[str, Tensor]:
        """Read the tensors, named mean, scale, head.NAME, loss.NAME."""
        try:
            return load_file(self.path / _WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"{self.path / _WEIGHTS} is missing or damaged ({error}): train again"
            ) from error

    def labels(self) -> pa.Table:
        """Read what became of the training labels."""
        return pq.read_table(self.path / _LABELS)


def is_run(path: Path) -> bool:
    """Tell whether a folder holds a run."""
    return (path / _RECORD).is_file()


def free_path(folder: Path, name: str) -> Path:
    """Find a path for a new run: NAME, NAME-2, NAME-3, ...; a colon is no name for a folder."""
    name = name.replace(":", "-")
    path, number = folder / name, 1
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}"
    return path


def refuse_unusable(path: Path) -> None:
    """Raise InputError where a new run would overwrite something or cannot be written."""
    if was_url(path):
        raise InputError(f"runs are kept on this machine, {path} is a URL: choose another --run")
    if os.path.lexists(path):
        raise InputError(f"{path} exists: choose another --run or remove it")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise InputError(f"cannot write into {above}: choose another --run")


def save_run(
    path: Path,
    settings: Settings,
    record: dict[str, Any],
    weights: dict[str, Tensor],
    labels: pa.Table,
) -> Run:
    """Write a run; it appears at its path only when it is whole.

    Raises:
        DiskFullError: there is no room; nothing is left behind.
        InputError: the path is taken, or cannot be written to.
    """
    refuse_unusable(path)
    part = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        part.mkdir(parents=True)
        settings.save(part)
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        (part / _RECORD).write_text(text, encoding="utf-8")
        (part / _WEIGHTS).write_bytes(save(weights))
        pq.write_table(labels, part / _LABELS)
        part.rename(path)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Run(path, settings, record)


def _not_written(path: Path, error: OSError) -> DiskFullError | InputError:
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFullError(f"cannot write the run {path}: {reason}; make room and train again")
    return InputError(f"cannot write the run {path}: {reason}; choose another --run")
