"""One Zarr array of a store: (N, width), in chunks of whole rows, a file a chunk.

A chunk's file holds its values and nothing else, so that some rows of it can be read alone (stores
of the first versions are compressed). Not Zarr's sharding: inside a plain chunk every row can be
read by itself, and whoever writes a chunk writes its file whole.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import DamagedChunkError, DmlError
from cache.layout import ArraySpec, Header, damaged, reading
from cache.places.place import Place

# Chunks are not compressed: rows of a plain file can be read alone, and on real features (5,421 x
# 1280 float16, 44 % zeros) zstd saved 44 % of the size, but took 41 ms to read instead of 9.
_COMPRESSORS: Any = None
_A_READ = 32 << 10  # bytes of a longer read that cost as much as one more read of a few rows
_METADATA = "zarr.json"


class Array:
    """The chunks of one array, read and written whole or by rows; safe from several threads.

    Attributes:
        spec: name, width and dtype.
    """

    def __init__(self, store: Place, spec: ArraySpec, header: Header) -> None:
        """Take the parts; nothing is read yet."""
        self.spec = spec
        self._store = store
        self._header = header
        self._dtype = np.dtype(spec.dtype)
        self._row_bytes = spec.width * self._dtype.itemsize
        self._chunk_bytes = header.chunk_rows * self._row_bytes

    @cached_property
    def is_plain(self) -> bool:
        """Whether a chunk's file holds its values and nothing else.

        Raises:
            StoreCorruptError: the array is missing, or its form is not the one the header tells.
        """
        with reading(self._store, self.spec.name):
            facts = json.loads(self._store.read(f"{self.spec.name}/{_METADATA}"))
            form = (facts["data_type"], facts["chunk_grid"]["configuration"]["chunk_shape"])
            rows, width = facts["shape"]
            codecs = facts["codecs"]
        expected = (self.spec.dtype, [self._header.chunk_rows, self.spec.width])
        if form != expected or width != self.spec.width or rows < self._header.num_rows:
            raise damaged(self._store, self.spec.name)
        return _are_plain(codecs, self._dtype)

    def check(self) -> None:
        """Raise StoreCorruptError if the array is missing or has another form than expected."""
        _ = self.is_plain

    def read(self, number: int, values: NDArray[np.generic]) -> None:
        """Fill `values`, the first (n, width) of a chunk, in the array's dtype, C-contiguous.

        Raises:
            StoreCorruptError: the chunk is missing or cannot be read.
        """
        with self._reading(number):
            if self.is_plain:
                parts = [(0, values.data.cast("B"))] if values.size else []
                self._store.read_parts(self._file(number), parts, size=self._chunk_bytes)
            else:
                values[...] = self._decoded(number)[: len(values)]

    def read_some(self, number: int, rows: NDArray[np.int64], values: NDArray[np.generic]) -> None:
        """Fill `values` (n, width) with some rows of a chunk and read nothing else.

        Args:
            number: a chunk of an array that `is_plain`.
            rows: (n,) ascending, counted from the chunk's first row.
            values: (n, width) in the array's dtype, C-contiguous.

        Raises:
            StoreCorruptError: the chunk is missing or cannot be read.
        """
        view = values.data.cast("B")
        parts = [
            (
                int(rows[first]) * self._row_bytes,
                view[first * self._row_bytes :][: n * self._row_bytes],
            )
            for first, n in _stretches(rows)
        ]
        with self._reading(number):
            self._store.read_parts(self._file(number), parts, size=self._chunk_bytes)

    def is_worth_reading_some(self, rows: NDArray[np.int64]) -> bool:
        """Tell whether `read_some` of these rows is cheaper than reading their chunk whole."""
        return self.is_plain and (len(_breaks(rows)) + 1) * _A_READ < self._chunk_bytes

    def write(self, number: int, values: NDArray[np.generic]) -> None:
        """Replace a chunk by its first (n, width) values, and wait until they are durable."""
        if self.is_plain:
            shape = (self._header.chunk_rows, self.spec.width)
            padded = np.full(shape, _fill(self._dtype), self._dtype)  # as Zarr wants it
            padded[: len(values)] = values
            self._store.write(self._file(number), padded.data.cast("B"))
        else:
            self._store.write(self._file(number), self._encoded(number, values))

    def metadata(self) -> dict[str, bytes]:
        """Return the array's file of metadata, by its name in the store, for a new store."""
        from zarr import create_array
        from zarr.storage import MemoryStore

        files: dict[str, Any] = {}
        create_array(
            MemoryStore(files),
            shape=(self._header.num_rows, self.spec.width),
            chunks=(self._header.chunk_rows, self.spec.width),
            dtype=self._dtype,
            fill_value=_fill(self._dtype),
            compressors=_COMPRESSORS,
        )
        return {f"{self.spec.name}/{_METADATA}": files[_METADATA].to_bytes()}

    @contextmanager
    def _reading(self, number: int) -> Iterator[None]:
        """What goes wrong with the file of a chunk is told of the chunk."""
        try:
            yield
        except (MemoryError, DmlError):
            raise
        except FileNotFoundError as error:
            raise bad_chunk(self._store, number, "is missing") from error
        except Exception as error:  # each codec has errors of its own
            raise bad_chunk(self._store, number, "cannot be read") from error

    def _file(self, number: int) -> str:
        return f"{self.spec.name}/c/{number}/0"

    def _decoded(self, number: int) -> NDArray[np.generic]:
        rows = self._header.chunk(number)
        array, _ = self._in_memory({f"c/{number}/0": self._store.read(self._file(number))})
        values: NDArray[np.generic] = array[rows.start : rows.stop]
        return values

    def _encoded(self, number: int, values: NDArray[np.generic]) -> bytes:
        array, files = self._in_memory({})
        start = self._header.chunk(number).start
        array[start : start + len(values)] = values
        content: bytes = files[f"c/{number}/0"].to_bytes()
        return content

    def _in_memory(self, chunks: dict[str, bytes]) -> tuple[Any, dict[str, Any]]:
        """Open a copy of the array that has these chunks: Zarr does what its codecs ask for.

        Returns:
            The array, and its files.
        """
        import zarr
        from zarr.core.buffer import default_buffer_prototype
        from zarr.storage import MemoryStore

        buffer = default_buffer_prototype().buffer.from_bytes
        metadata = {_METADATA: self._store.read(f"{self.spec.name}/{_METADATA}")}
        files = {name: buffer(content) for name, content in (metadata | chunks).items()}
        with zarr.config.set({"array.write_empty_chunks": True}):
            return zarr.open_array(MemoryStore(files), mode="r+"), files


def bad_chunk(store: Place, number: int, what: str) -> DamagedChunkError:
    """Return the error for a finished chunk whose values cannot be used."""
    return DamagedChunkError(
        f"chunk {number} of {store} {what}: run the same `dml extract` again with --repair, which "
        "makes damaged chunks anew",
        what=what,
    )


def _are_plain(codecs: list[Any], dtype: np.dtype[Any]) -> bool:
    """Tell whether chunks are stored as this machine holds them in memory."""
    if len(codecs) != 1 or codecs[0]["name"] != "bytes":
        return False
    endian = codecs[0].get("configuration", {}).get("endian")
    return dtype.itemsize == 1 or bool(endian == sys.byteorder)


def _fill(dtype: np.dtype[Any]) -> float | int:
    return float("nan") if dtype.kind == "f" else 0


def _breaks(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places in ascending rows (n,) where one does not follow the row before it."""
    return np.flatnonzero(np.diff(rows) != 1) + 1


def _stretches(rows: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield where each run of consecutive rows begins, and its length."""
    for first, end in pairwise([0, *_breaks(rows).tolist(), len(rows)]):
        yield first, end - first
