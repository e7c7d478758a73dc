"""The Zarr array of a store: features (N, F) in chunks of whole rows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from cache.durable import sync_file, sync_folder
from cache.errors import StoreCorruptError
from cache.layout import FEATURES, LEDGER, Header, damaged, reading

# On real features (5,421 x 1280 float16, 44 % zeros): none 100 % of the size, written in 62 ms and
# read in 5 ms; zstd 65 %, 101 and 14; blosc zstd + shuffle 65 %, 136 and 19; lz4 + shuffle 94 %.
_COMPRESSOR = ZstdCodec(level=1)


class FeatureArray:
    """The features of a store, read and written a chunk at a time.

    Reading is safe from several threads.
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
        self._store = store
        self._header = header

    def read(self, number: int) -> NDArray[np.floating]:
        """Return the features of a chunk, (rows of the chunk, F).

        Raises:
            StoreCorruptError: the chunk is missing or cannot be read.
        """
        rows = self._header.chunk(number)
        if not _chunk_file(self._store, number).is_file():
            raise bad_chunk(self._store, number, "is missing")
        try:
            return np.asarray(self._array[rows.start : rows.stop])
        except MemoryError:
            raise
        except Exception as error:  # each codec has errors of its own
            raise bad_chunk(self._store, number, "cannot be read") from error

    def write(self, number: int, values: NDArray[np.floating]) -> None:
        """Replace the features of a chunk, (rows of the chunk, F), and wait for the disk."""
        rows = self._header.chunk(number)
        file = _chunk_file(self._store, number)
        shutil.rmtree(file.parent, ignore_errors=True)  # what a killed writer may have left
        self._array[rows.start : rows.stop] = values
        sync_file(file)
        for folder in list(file.parents)[:3]:  # the names of the file and of its folders
            sync_folder(folder)


def create_array(store: Path, header: Header) -> None:
    """Make the array of a new store; it has no chunk yet."""
    shape, chunks, dtype = _form(header)
    zarr.create_array(
        store / FEATURES,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=float("nan"),
        compressors=_COMPRESSOR,
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
