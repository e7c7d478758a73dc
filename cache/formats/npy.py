"""NumPy's .npy: the features alone; an export puts ids and labels into a table beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from cache.formats import parquet
from cache.formats._content import FEATURES, Block, Content, Form, Source, block_rows

SUFFIXES = (".npy",)
TABLE_SUFFIX = ".rows.parquet"
_HEADERS = {
    1: np.lib.format.read_array_header_1_0,
    2: np.lib.format.read_array_header_2_0,
    3: np.lib.format.read_array_header_2_0,  # its only difference is the names' encoding
}


@contextmanager
def read(path: Path) -> Iterator[Source]:
    """Open a file; its one array gets the name `features`."""
    with path.open("rb") as file:
        form, _, _ = read_header(file)

    def blocks(_: str, start: int) -> Iterator[Block]:
        with path.open("rb") as file:
            form, dtype, is_fortran = read_header(file)
            if is_fortran:  # a row's values lie far apart: the system pages them in
                yield from slices(np.load(path, mmap_mode="r"), form, start)
                return
            file.seek(start * row_bytes(form, dtype), 1)
            yield from read_blocks(file, form, dtype, start)

    yield Source(path, {FEATURES: form}, blocks)


def write(path: Path, content: Content) -> None:
    """Write the features, and the columns as a Parquet table `NAME.rows.parquet` beside them."""
    with path.open("wb") as file:
        write_header(file, content.shape, content.dtype)
        for block in content.blocks:
            file.write(block.data)
    parquet.write_table(path.with_name(path.stem + TABLE_SUFFIX), content)


def read_header(file: IO[bytes]) -> tuple[Form, np.dtype[Any], bool]:
    """Read what stands before the values: form, dtype, and whether columns come first."""
    major, _ = np.lib.format.read_magic(file)
    if major not in _HEADERS:
        raise ValueError(f"version {major} of .npy is not known")
    shape, is_fortran, dtype = _HEADERS[major](file)
    form = Form(shape, "object", "other") if dtype.hasobject else Form.of(shape, dtype)
    return form, dtype, is_fortran and len(shape) > 1


def write_header(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Write what stands before the values; they follow row by row."""
    facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, facts)


def read_blocks(file: IO[bytes], form: Form, dtype: np.dtype[Any], start: int) -> Iterator[Block]:
    """Read the rows from `start` on, where the file stands, block by block."""
    step, width = block_rows(form), row_bytes(form, dtype)
    for first in range(start, form.shape[0], step):
        count = min(step, form.shape[0] - first)
        content = file.read(count * width)
        if len(content) < count * width:
            raise EOFError(f"its values end in row {first + len(content) // max(width, 1) + 1}")
        yield np.frombuffer(content, dtype).reshape(count, *form.shape[1:])


def slices(array: Block, form: Form, start: int) -> Iterator[Block]:
    """Cut an array into blocks of C order."""
    step = block_rows(form)
    for first in range(start, form.shape[0], step):
        yield np.ascontiguousarray(array[first : first + step])


def row_bytes(form: Form, dtype: np.dtype[Any]) -> int:
    """Return how many bytes a row takes."""
    return dtype.itemsize * int(np.prod(form.shape[1:]))
