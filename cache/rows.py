"""The table of a store's rows: row i tells what row i of the arrays is.

All columns are texts but two: `bytes`, the size of each image's file (-1: it was missing), by which
a changed file is noticed; and `removed`, which marks rows that a user took out of the store.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cache.errors import InputError
from cache.layout import ROWS, damaged, reading
from cache.places.place import Place

REQUIRED = ("id", "path", "label")
OPTIONAL = ("split", "superlabel", "true_label")
GIVEN_BY_USER = ("label", *OPTIONAL)
BYTES, REMOVED = "bytes", "removed"


def checked_rows(rows: pa.Table) -> pa.Table:
    """Return the rows with their columns in the fixed order: texts, and numbers in `bytes`.

    Raises:
        InputError: a column is missing, unknown or has empty cells, an id occurs twice, or
            there is no row.
    """
    names = set(rows.column_names)
    if missing := [name for name in REQUIRED if name not in names]:
        raise InputError(f"the rows have no column {missing[0]!r}, expected {', '.join(REQUIRED)}")
    if unknown := sorted(names - {*REQUIRED, *OPTIONAL, BYTES}):
        raise InputError(
            f"the rows have an unknown column {unknown[0]!r}, expected only "
            f"{', '.join(REQUIRED + OPTIONAL)}"
        )
    if rows.num_rows == 0:
        raise InputError("there are no rows, expected at least one picture")
    columns = [name for name in (*REQUIRED, *OPTIONAL, BYTES) if name in names]
    types = {BYTES: pa.int64()}
    rows = rows.select(columns).cast(
        pa.schema([(name, types.get(name, pa.string())) for name in columns])
    )
    if empty := [name for name in columns if rows[name].null_count]:
        raise InputError(f"the column {empty[0]!r} has empty cells, expected a text in each row")
    _refuse_double_ids(rows["id"].to_pylist())
    return rows


def _refuse_double_ids(ids: list[str]) -> None:
    seen: set[str] = set()
    for row_id in ids:
        if row_id in seen:
            raise InputError(f"the id {row_id!r} occurs twice: give each row an id of its own")
        seen.add(row_id)


def rows_to_bytes(rows: pa.Table) -> bytes:
    """Return the content of the table's file."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def load_rows(store: Place, num_rows: int, name: str = ROWS) -> pa.Table:
    """Read the table of a store.

    Raises:
        StoreCorruptError: it is missing or damaged, or has not `num_rows` rows.
    """
    with reading(store, name):
        rows = pq.ParquetFile(pa.BufferReader(store.read(name))).read()
    if rows.num_rows != num_rows:
        raise damaged(store, name)
    return rows


def removed_rows(rows: pa.Table) -> list[int]:
    """List the rows that were taken out of the store, ascending."""
    if REMOVED not in rows.column_names:
        return []
    return [row for row, is_removed in enumerate(rows[REMOVED].to_pylist()) if is_removed]


def live_rows(rows: pa.Table) -> pa.Table:
    """Return the rows that were not taken out of the store."""
    if REMOVED not in rows.column_names:
        return rows
    return rows.filter(pc.invert(rows[REMOVED])).drop_columns(REMOVED)


def count_relabelled(old: pa.Table, new: pa.Table) -> int:
    """Count the rows whose label, split, superlabel or true label differ.

    A column that only one of the tables has differs in every row.
    """
    if old.equals(new):
        return 0
    return sum(a != b for a, b in zip(_given(old), _given(new), strict=True))


def _given(rows: pa.Table) -> Iterator[tuple[str | None, ...]]:
    columns = (
        rows[name].to_pylist() if name in rows.column_names else [None] * rows.num_rows
        for name in GIVEN_BY_USER
    )
    return zip(*columns, strict=True)
