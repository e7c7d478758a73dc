"""The table of a store's rows: row i tells what row i of the features is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cache.durable import replace_file
from cache.errors import InputError
from cache.layout import ROWS, damaged, reading

REQUIRED = ("id", "path", "label")
OPTIONAL = ("split", "superlabel", "true_label")
GIVEN_BY_USER = ("label", *OPTIONAL)


def checked_rows(rows: pa.Table) -> pa.Table:
    """Return the rows with their columns in the fixed order, all of them strings.

    Raises:
        InputError: a column is missing, unknown or has empty cells, an id occurs twice, or
            there is no row.
    """
    names = set(rows.column_names)
    if missing := [name for name in REQUIRED if name not in names]:
        raise InputError(f"the rows have no column {missing[0]!r}, expected {', '.join(REQUIRED)}")
    if unknown := sorted(names - {*REQUIRED, *OPTIONAL}):
        raise InputError(
            f"the rows have an unknown column {unknown[0]!r}, expected only "
            f"{', '.join(REQUIRED + OPTIONAL)}"
        )
    if rows.num_rows == 0:
        raise InputError("there are no rows, expected at least one picture")
    columns = [name for name in REQUIRED + OPTIONAL if name in names]
    rows = rows.select(columns).cast(pa.schema([(name, pa.string()) for name in columns]))
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


def save_rows(store: Path, rows: pa.Table) -> None:
    """Write or replace the table of a store in one step."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    replace_file(store / ROWS, sink.getvalue().to_pybytes())


def load_rows(store: Path, num_rows: int) -> pa.Table:
    """Read the table of a store.

    Raises:
        StoreCorruptError: it is missing or damaged, or has not `num_rows` rows.
    """
    # Not `read_table`: it would take a folder named `a=b` on the way for a column.
    with reading(store, ROWS), open(store / ROWS, "rb") as file:
        rows = pq.ParquetFile(file).read()
    if rows.num_rows != num_rows:
        raise damaged(store, ROWS)
    return rows


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
