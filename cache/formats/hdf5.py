"""HDF5: a data set for each array, in groups or not; `group/name` is its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from cache.formats._content import FACTS, FEATURES, Block, Content, Form, Source, block_rows

SUFFIXES = (".h5", ".hdf5")
_CHUNK_CACHE = 64 << 20  # so that chunks with a part of the columns are unpacked once
_CELL_BYTES, _REST_BYTES = 64, 1 << 16  # at most, of a text beside its letters; of all else
_LARGEST = 8  # blocks in one, where chunks are that long; longer chunks are unpacked several times


@contextmanager
def read(path: Path) -> Iterator[Source]:
    """Open a file; the facts are its attribute `dml`."""
    with h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE) as file:
        arrays: dict[str, Form] = {}

        def note(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                arrays[name] = _form(item)

        file.visititems(note)
        facts = file.attrs.get(FACTS)

        def blocks(name: str, start: int) -> Iterator[Block]:
            form, array = arrays[name], file[name]
            chunk = min(array.chunks[0] if array.chunks else 1, _LARGEST * block_rows(form))
            step = max(1, block_rows(form) // chunk) * chunk
            for first in range(start - start % chunk, form.shape[0], step):
                yield array[max(first, start) : first + step]

        yield Source(path, arrays, blocks, facts if isinstance(facts, str) else None)


def write(path: Path, content: Content) -> None:
    """Write the features in one piece without chunks, and each column as texts of any length."""
    _make_sure_of_room(path, content)
    with h5py.File(path, "w") as file:
        features = file.create_dataset(FEATURES, content.shape, content.dtype)
        start = 0
        for block in content.blocks:
            features[start : start + len(block)] = block
            start += len(block)
        for name, cells in content.columns.items():
            file.create_dataset(name, data=list(cells), dtype=h5py.string_dtype())
        file.attrs[FACTS] = content.facts()


def _make_sure_of_room(path: Path, content: Content) -> None:
    """Raise OSError where the disk is too full: HDF5 itself ends badly when it cannot write."""
    if not hasattr(os, "posix_fallocate"):
        return
    cells = (cell for column in content.columns.values() for cell in column)
    texts = sum(len(cell.encode()) + _CELL_BYTES for cell in cells)
    size = content.shape[0] * content.shape[1] * content.dtype.itemsize + texts + _REST_BYTES
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def _form(array: Any) -> Form:
    if array.shape is None:
        return Form((), "empty", "other")
    if h5py.check_string_dtype(array.dtype) is not None:
        return Form(array.shape, "text", "text")
    return Form.of(array.shape, array.dtype)
