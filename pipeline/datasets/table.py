"""Images listed in a CSV or Parquet table."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Sequence
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from cache.errors import InputError
from cache.places.urls import Location, below, folder_of, suffix_of
from pipeline.datasets.manifest import Manifest, make_manifest
from pipeline.extraction.containers import is_there, read_bytes

REQUIRED = ("path", "label")
OPTIONAL = ("id", "split", "superlabel", "true_label")
_CHECKED_PATHS = 20


def table_manifest(file: Location) -> Manifest:
    """Read the columns path, label and, where present, id, split, superlabel and true_label.

    Every cell becomes a string; other columns are ignored. Relative paths start at the table's
    folder, also at a URL, and a path may be a URL itself; it may lead into an archive or table, as
    in `photos.zip::cat/1.jpg`. The id is the path unless there is a column for it. A missing image
    is no error here, unless none of the first 20 is there.

    Raises:
        InputError: the table is missing, damaged or of another kind, lacks a column, has an
            empty cell, or its paths lead nowhere.
        UnreachableError: a URL cannot be read.
    """
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    if suffix_of(file) not in readers:
        raise InputError(
            f"{file} is {'not a kind of data' if is_there(file) else 'no folder or file'} that can "
            "be read: expected a folder of class folders, a .csv or a .parquet table"
        )
    try:
        content = read_bytes(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{file} does not exist: expected a .csv or .parquet table") from error
    columns = readers[suffix_of(file)](content, file)
    manifest = make_manifest(
        ids=columns.get("id", columns["path"]),
        paths=columns["path"],
        labels=columns["label"],
        splits=columns.get("split"),
        superlabels=columns.get("superlabel"),
        true_labels=columns.get("true_label"),
        root=folder_of(file),
    )
    _check_some_exist(manifest, file)
    return manifest


def _read_csv(content: bytes, file: Location) -> dict[str, list[str]]:
    try:
        stream = io.StringIO(content.decode("utf-8-sig"), newline="")
        rows = [row for row in csv.reader(stream, strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} is not a UTF-8 table with commas: {error}") from error
    header = [name.strip() for name in rows.pop(0)] if rows else []
    _check_columns(header, file)
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise InputError(
                f"row {number} of {file} has {len(row)} cells, expected {len(header)}: put quotes "
                "around cells that contain commas"
            )
    return {
        name: [row[header.index(name)] for row in rows]
        for name in (*REQUIRED, *OPTIONAL)
        if name in header
    }


def _read_parquet(content: bytes, file: Location) -> dict[str, list[str]]:
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as parquet:
            header = parquet.schema_arrow.names
            _check_columns(header, file)
            known = [name for name in (*REQUIRED, *OPTIONAL) if name in header]
            table = parquet.read(columns=known)
            texts = table.cast(pa.schema([(name, pa.string()) for name in known]))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{file} is not a Parquet table of texts or numbers: {reason}") from error
    return {
        name: ["" if cell is None else cell for cell in texts[name].to_pylist()] for name in known
    }


def _check_columns(header: Sequence[str], file: Location) -> None:
    for name in REQUIRED:
        if name not in header:
            found = ", ".join(map(repr, header)) or "none"
            lowered = {column.lower(): column for column in header}
            close = difflib.get_close_matches(name, lowered, n=1)
            hint = f": rename {lowered[close[0]]!r}?" if close else ""
            raise InputError(f"{file} has no column {name!r}, its columns are {found}{hint}")


def _check_some_exist(manifest: Manifest, file: Location) -> None:
    first = [below(manifest.root, path) for path in islice(manifest.paths, _CHECKED_PATHS)]
    if not any(map(is_there, first)):
        raise InputError(
            f"none of the first {len(first)} images of {file} exists, for example {first[0]}: "
            "paths must be absolute or start at the table's folder"
        )
