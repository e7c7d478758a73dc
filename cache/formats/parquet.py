"""Parquet: a column for each array; features are a column of lists of one length."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cache.errors import InputError
from cache.formats._content import (
    FACTS,
    FEATURES,
    Block,
    Content,
    Form,
    Source,
    block_rows,
    regrouped,
)

SUFFIXES = (".parquet",)
_GROUP_ROWS = 65_536


@contextmanager
def read(path: Path) -> Iterator[Source]:
    """Open a file; the facts are the entry `dml` of its metadata."""
    # Not `memory_map`, and without reading ahead: a file may be one group of all rows.
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        schema, count = file.schema_arrow, file.metadata.num_rows
        arrays = {field.name: _form(file, field, count) for field in schema}
        facts = (file.metadata.metadata or {}).get(FACTS.encode())

        def blocks(name: str, start: int) -> Iterator[Block]:
            form, row = arrays[name], 0
            for batch in file.iter_batches(block_rows(form), columns=[name]):
                skipped = max(start - row, 0)
                if len(part := batch.column(0).slice(skipped)):
                    yield _values(part, form, name, row + skipped, path)
                row += batch.num_rows

        yield Source(path, arrays, blocks, None if facts is None else facts.decode())


def write(path: Path, content: Content) -> None:
    """Write groups of rows: features as lists of fixed length, columns as texts."""
    width = content.shape[1]
    kind = pa.list_(pa.from_numpy_dtype(content.dtype), width)
    schema = pa.schema([(FEATURES, kind), *((name, pa.string()) for name in content.columns)])
    with pq.ParquetWriter(
        path, schema, compression="none", use_dictionary=list(content.columns)
    ) as writer:
        start = 0
        for block in regrouped(content.blocks, _groups(content)):
            features = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), width)
            stop = start + len(block)
            columns = [cells[start:stop] for cells in content.columns.values()]
            writer.write_table(pa.table([features, *columns], schema=schema))
            start = stop
        writer.add_key_value_metadata({FACTS: content.facts()})


def write_table(path: Path, content: Content) -> None:
    """Write the columns without the features."""
    table = pa.table(
        {name: pa.array(cells, pa.string()) for name, cells in content.columns.items()}
    )
    facts = {FACTS: content.facts()}
    pq.write_table(
        table.replace_schema_metadata(facts), path, compression="zstd", row_group_size=_GROUP_ROWS
    )


def _groups(content: Content) -> Iterator[range]:
    """Cut all rows into groups of a good size to read at a time."""
    count = content.shape[0]
    step = block_rows(Form.of(content.shape, content.dtype))
    return (range(at, min(at + step, count)) for at in range(0, count, step))


def _form(file: pq.ParquetFile, field: pa.Field, count: int) -> Form:
    kind = field.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        return Form((count,), "text", "text")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        if pa.types.is_nested(kind.value_type):
            return Form((count,), str(kind), "other")
        dtype = np.dtype(kind.value_type.to_pandas_dtype())
        return Form.of((count, _width(file, field)), dtype)
    try:
        return Form.of((count,), np.dtype(kind.to_pandas_dtype()))
    except (NotImplementedError, TypeError):
        return Form((count,), str(kind), "other")


def _width(file: pq.ParquetFile, field: pa.Field) -> int:
    """Return the length of the lists; where the type does not say it, that of the first."""
    if pa.types.is_fixed_size_list(field.type):
        return int(field.type.list_size)
    first = next(file.iter_batches(1, columns=[field.name]), None)
    return 0 if first is None or not first.column(0)[0].is_valid else len(first.column(0)[0])


def _values(part: Any, form: Form, name: str, row: int, path: Path) -> Block:
    """Turn a part of a column, which begins at `row`, into an array."""
    if len(form.shape) == 1:
        values: Block = part.to_numpy(zero_copy_only=False)
        return values
    width = form.shape[1]
    lengths = pc.list_value_length(part).fill_null(-1).to_numpy(zero_copy_only=False)
    if (uneven := np.flatnonzero(lengths != width)).size:
        at, length = int(uneven[0]), int(lengths[uneven[0]])
        found = "no list" if length < 0 else f"a list of {length} numbers"
        raise InputError(f"row {row + at + 1} of {name} in {path} is {found}, expected {width}")
    flat = part.flatten()
    if flat.null_count:
        flat = flat.fill_null(float("nan"))
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(len(part), width)
