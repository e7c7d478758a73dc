"""The Zarr array of a store: features (N, F) in chunks of whole rows."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BytesCodec

from cache.durable import sync_file, sync_folder
from cache.errors import StoreCorruptError
from cache.layout import FEATURES, LEDGER, Header, damaged, reading

# Chunks are not compressed: rows of a plain file can be read alone, and on real features (5,421 x
# 1280 float16, 44 % zeros) zstd saved 44 % of the size, but took 41 ms to read instead of 9.
_COMPRESSORS = None
_A_READ = 32 << 10  # bytes of a longer read that cost as much as one more read of a few rows


class FeatureArray:
    """The features of a store, read and written a chunk at a time.

    Reading is safe from several threads.

    Attributes:
        is_plain: whether a chunk's file holds its values and nothing else.
    """

    def __init__(self, store: Path, header: Header, *, mode: Literal["r", "r+"]) -> None:
        """Open the array of a store.

        Raises:
            StoreCorruptError: it is missing, or its form is not the one the header tells.
        """
        # A chunk of unreadable rows alone gets a file too: a missing file means damage.
        with reading(store, FEATURES), zarr.config.set({"array.write_empty_chunks": True}):
            self._array: Any = zarr.open_array(store / FEATURES, mode=mode)
        if (self._array.shape, self._array.chunks, str(self._array.dtype)) != _form(header):
            raise damaged(store, FEATURES)
        self.is_plain = _is_plain(self._array)
        self._store = store
        self._header = header
        self._chunk_bytes = self._array.dtype.itemsize * int(np.prod(self._array.chunks))

    def read(self, number: int, values: NDArray[np.floating]) -> None:
        """Fill `values`, (rows of the chunk, F), in the store's dtype and C-contiguous.

        Raises:
            StoreCorruptError: the chunk is missing or cannot be read.
        """
        rows = self._header.chunk(number)
        with self._open(number) as file:
            if self.is_plain:
                _fill(file, values.data.cast("B"))
            else:
                values[...] = self._array[rows.start : rows.stop]

    def read_some(self, number: int, rows: NDArray[np.int64], values: NDArray[np.floating]) -> None:
        """Fill `values` (n, F) with some rows of a chunk and read nothing else.

        Args:
            number: a chunk of an array that `is_plain`.
            rows: (n,) ascending, counted from the chunk's first row.
            values: (n, F) in the store's dtype, C-contiguous.

        Raises:
            StoreCorruptError: the chunk is missing or cannot be read.
        """
        width, view = values.shape[1] * values.itemsize, values.data.cast("B")
        with self._open(number) as file:
            for first, end in pairwise([0, *_breaks(rows).tolist(), len(rows)]):
                file.seek(int(rows[first]) * width)
                _fill(file, view[first * width : end * width])

    def is_worth_reading_some(self, rows: NDArray[np.int64]) -> bool:
        """Tell whether `read_some` of these rows is cheaper than reading their chunk whole."""
        return self.is_plain and (len(_breaks(rows)) + 1) * _A_READ < self._chunk_bytes

    def write(self, number: int, values: NDArray[np.floating]) -> None:
        """Replace the features of a chunk, (rows of the chunk, F), and wait for the disk."""
        rows = self._header.chunk(number)
        file = _chunk_file(self._store, number)
        shutil.rmtree(file.parent, ignore_errors=True)  # what a killed writer may have left
        self._array[rows.start : rows.stop] = values
        sync_file(file)
        for folder in list(file.parents)[:3]:  # the names of the file and of its folders
            sync_folder(folder)

    @contextmanager
    def _open(self, number: int) -> Iterator[FileIO]:
        """Open the file of a chunk; what goes wrong with it is told of the chunk."""
        try:
            with FileIO(_chunk_file(self._store, number)) as file:
                if self.is_plain and os.fstat(file.fileno()).st_size != self._chunk_bytes:
                    raise EOFError
                yield file
        except MemoryError:
            raise
        except FileNotFoundError as error:
            raise bad_chunk(self._store, number, "is missing") from error
        except Exception as error:  # each codec has errors of its own
            raise bad_chunk(self._store, number, "cannot be read") from error


def create_array(store: Path, header: Header) -> None:
    """Make the array of a new store; it has no chunk yet."""
    shape, chunks, dtype = _form(header)
    zarr.create_array(
        store / FEATURES,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=float("nan"),
        compressors=_COMPRESSORS,
    )


def bad_chunk(store: Path, number: int, what: str) -> StoreCorruptError:
    """Return the error for a finished chunk whose features cannot be used."""
    return StoreCorruptError(
        f"chunk {number} of {store} {what}: remove its line from {LEDGER} there and run "
        "`dml extract` again, which makes this chunk anew"
    )


def _form(header: Header) -> tuple[tuple[int, int], tuple[int, int], str]:
    num_features = header.fingerprint.num_features
    return (
        (header.num_rows, num_features),
        (header.chunk_rows, num_features),
        header.fingerprint.dtype,
    )


def _chunk_file(store: Path, number: int) -> Path:
    return store / FEATURES / "c" / str(number) / "0"


def _is_plain(array: Any) -> bool:
    """Tell whether chunks are stored as this machine holds them in memory."""
    codecs = array.metadata.codecs
    if len(codecs) != 1 or not isinstance(codecs[0], BytesCodec):
        return False
    return codecs[0].endian is not None and codecs[0].endian.value == sys.byteorder


def _fill(file: FileIO, view: memoryview) -> None:
    """Read until `view` is full; the system may hand over less than it was asked for."""
    while view:
        if not (count := file.readinto(view)):
            raise EOFError
        view = view[count:]


def _breaks(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places in ascending rows (n,) where one does not follow the row before it."""
    return np.flatnonzero(np.diff(rows) != 1) + 1
