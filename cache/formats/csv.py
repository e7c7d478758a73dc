"""CSV tables with a header: columns of texts alone, for `--labels`."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cache.errors import InputError
from cache.formats._content import Block, Form, Source

SUFFIXES = (".csv",)


@contextmanager
def read(path: Path) -> Iterator[Source]:
    """Open a table; blank lines are no rows."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = [row for row in csv.reader(stream, strict=True) if row]
    header = [name.strip() for name in rows.pop(0)] if rows else []
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise InputError(
                f"row {number} of {path} has {len(row)} cells, expected {len(header)}: put quotes "
                "around cells that contain commas"
            )
    arrays = {name: Form((len(rows),), "text", "text") for name in header}

    def blocks(name: str, start: int) -> Iterator[Block]:
        at = header.index(name)
        yield np.array([row[at] for row in rows[start:]], object)

    yield Source(path, arrays, blocks)
