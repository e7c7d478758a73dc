"""Writes a manifest as a CSV or Parquet table that `dml extract` reads."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cache.errors import InputError
from cache.places.durable import replace_file
from pipeline.datasets.manifest import Manifest

SUFFIXES = (".csv", ".parquet")


def check_place(file: Path, *, is_forced: bool) -> None:
    """Refuse a place that no table can be written to, before any work.

    Raises:
        InputError: the suffix is unknown, or there is a file already and `is_forced` is false.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out {file}: expected a name that ends in .csv or .parquet")
    if file.is_dir():
        raise InputError(f"--out {file} is a folder: give the name of a file")
    if file.exists() and not is_forced:
        raise InputError(f"{file} exists: choose another --out, or overwrite it with --force")


def save_manifest(
    manifest: Manifest, file: Path, *, extra: Mapping[str, Sequence[str]], is_forced: bool
) -> None:
    """Write a manifest in one step: the whole table or nothing.

    Paths of images below the table's folder become relative to it, all others absolute.

    Args:
        manifest: the images.
        file: a name that ends in .csv or .parquet; missing folders are made.
        extra: more columns.
        is_forced: whether a file of this name is replaced.

    Raises:
        InputError: the place is refused by `check_place`, or cannot be written.
    """
    check_place(file, is_forced=is_forced)
    columns = _columns(manifest, file.absolute().parent) | dict(extra)
    save_table(file, _csv(columns) if file.suffix.lower() == ".csv" else _parquet(columns))


def save_table(file: Path, content: bytes) -> None:
    """Write a table in one step, with the folders above it; raises InputError if it cannot be."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, content)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot write {file}: {reason}; choose another --out") from error


def _columns(manifest: Manifest, folder: Path) -> dict[str, Sequence[str]]:
    below = f"{folder}/"
    absolute = (os.path.join(manifest.root, path) for path in manifest.paths)
    columns = {
        "id": manifest.ids,
        "path": [path.removeprefix(below) for path in absolute],
        "label": manifest.labels,
        "split": manifest.splits,
        "superlabel": manifest.superlabels,
        "true_label": manifest.true_labels,
    }
    return {name: column for name, column in columns.items() if column is not None}


def _csv(columns: Mapping[str, Sequence[str]]) -> bytes:
    stream = io.StringIO(newline="")
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(columns)
    table.writerows(zip(*columns.values(), strict=True))
    return stream.getvalue().encode()


def _parquet(columns: Mapping[str, Sequence[str]]) -> bytes:
    import pyarrow as pa  # a CSV table needs no pyarrow
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    table = pa.table({name: pa.array(column, pa.string()) for name, column in columns.items()})
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content
