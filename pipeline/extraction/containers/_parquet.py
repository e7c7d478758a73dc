"""Pictures in a Parquet table: a binary column, or a struct column with the field `bytes`.

The second form is what the `datasets` library of Hugging Face writes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cache.errors import InputError, UnreachableError
from cache.places.urls import Location
from pipeline.extraction.containers._source import open_source

_KEPT_GROUPS = 4


class ParquetImages:
    """The picture columns of a Parquet file, by row.

    A row can only be read with its row group, so the latest few groups are kept: rows in the
    file's order cost one read a group, rows in random order one read each.
    """

    def __init__(self, file: Location) -> None:
        self._file = file
        with opened_table(file) as parquet:
            self._columns = image_columns(parquet.schema_arrow)
            metadata = parquet.metadata
            rows = [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]
        self._ends = list(accumulate(rows, initial=0))
        self._groups: OrderedDict[tuple[str, int], pa.Array] = OrderedDict()
        self._lock = threading.Lock()
        self._sizes = lru_cache(maxsize=None)(self._measured)

    def names(self) -> Collection[str]:
        """List the row numbers."""
        return [str(row) for row in range(self._ends[-1])]

    def has(self, name: str) -> bool:
        """Tell whether there is such a row; it may hold no picture."""
        row = name.rpartition("/")[2]
        return row.isdecimal() and int(row) < self._ends[-1]

    def size(self, name: str) -> int:
        """Return a picture's number of bytes; raises KeyError if it is not there."""
        column, row = self._place(name)
        size = int(self._sizes(column)[row])
        if size < 0:
            raise KeyError(name)
        return size

    def read(self, name: str) -> bytes:
        """Read a picture; raises KeyError if it is not there."""
        column, row = self._place(name)
        group = int(np.searchsorted(self._ends, row, side="right")) - 1
        content = self._group(column, group)[row - self._ends[group]].as_py()
        if content is None:
            raise KeyError(name)
        return bytes(content)

    def _place(self, name: str) -> tuple[str, int]:
        column, _, row = name.rpartition("/")
        if not row.isdecimal() or int(row) >= self._ends[-1]:
            raise KeyError(name)
        if not column and len(self._columns) == 1:
            return self._columns[0], int(row)
        if column not in self._columns:
            found = ", ".join(map(repr, self._columns)) or "none"
            raise InputError(
                f"{self._file} has the picture columns {found}: expected one of them before the "
                f"row, as in {str(self._file).rpartition('/')[2]}::image/0"
            )
        return column, int(row)

    def _group(self, column: str, number: int) -> pa.Array:
        with self._lock:
            key = (column, number)
            if key not in self._groups:
                self._groups[key] = self._loaded(column, number)
                if len(self._groups) > _KEPT_GROUPS:
                    self._groups.popitem(last=False)
            self._groups.move_to_end(key)
            return self._groups[key]

    def _loaded(self, column: str, number: int) -> pa.Array:
        with opened_table(self._file) as parquet:
            values = parquet.read_row_group(number, columns=[column])[column]
        if pa.types.is_struct(values.type):
            values = pc.struct_field(values, "bytes")
        return pa.concat_arrays([chunk.cast(pa.large_binary()) for chunk in values.chunks])

    def _measured(self, column: str) -> NDArray[np.int64]:
        """Return the number of bytes of each row, -1 where there is no picture."""
        groups = range(len(self._ends) - 1)
        lengths = [pc.binary_length(self._loaded(column, number)) for number in groups]
        parts = [pc.fill_null(part, -1).to_numpy().astype(np.int64) for part in lengths]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def image_columns(schema: pa.Schema) -> list[str]:
    """List the columns that can hold pictures."""
    return [field.name for field in schema if _is_image(field.type)]


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_image(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


@contextmanager
def opened_table(file: Location) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; raises InputError where it cannot be read."""
    if isinstance(file, Path):
        with reading(file), pq.ParquetFile(file) as parquet:
            yield parquet
    else:
        with open_source(file) as stream, reading(file), pq.ParquetFile(stream) as parquet:
            yield parquet


@contextmanager
def reading(file: Location) -> Iterator[None]:
    """Turn pyarrow's refusals into one line."""
    try:
        yield
    except UnreachableError:
        raise
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{file} is no whole Parquet table ({reason}): it may be truncated, get it again"
        ) from error
