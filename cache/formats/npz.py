"""NumPy's .npz, compressed or not: a zip with one .npy for each array.

Members are read as streams. A compressed member in Fortran order cannot be: it goes through a
scratch file. Python objects are never unpickled.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, ZipFile

import numpy as np

from cache.formats._content import FACTS, FEATURES, Block, Content, Form, Source, block_rows
from cache.formats.npy import (
    read_blocks,
    read_header,
    row_bytes,
    slices,
    write_header,
)

SUFFIXES = (".npz",)
_MEMBER = ".npy"
_SKIPPED = 16 << 20


@contextmanager
def read(path: Path) -> Iterator[Source]:
    """Open a file; the members' names without `.npy` are the arrays' names."""
    with ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(_MEMBER)]
        arrays = {name.removesuffix(_MEMBER): _form(archive, name) for name in names}
        facts = arrays.pop(FACTS, None) and _facts(archive)

        def blocks(name: str, start: int) -> Iterator[Block]:
            with archive.open(name + _MEMBER) as member:
                form, dtype, is_fortran = read_header(member)
                if is_fortran:
                    yield from _through_scratch(member, form, dtype, start)
                    return
                _skip(member, start * row_bytes(form, dtype))
                yield from read_blocks(member, form, dtype, start)
                member.read(1)  # at the end the zip's checksum is compared

        yield Source(path, arrays, blocks, facts)


def write(path: Path, content: Content) -> None:
    """Write features as they come, each column as texts of one width, and the facts."""
    with ZipFile(path, "w", ZIP_STORED) as archive:
        with _member(archive, FEATURES) as member:
            write_header(member, content.shape, content.dtype)
            for block in content.blocks:
                member.write(block.data)
        for name, cells in content.columns.items():
            _write_texts(archive, name, cells)
        _write_texts(archive, FACTS, [content.facts()], shape=())


def _form(archive: ZipFile, name: str) -> Form:
    with archive.open(name) as member:
        return read_header(member)[0]


def _facts(archive: ZipFile) -> str | None:
    with archive.open(FACTS + _MEMBER) as member:
        form, dtype, _ = read_header(member)
        if form.kind != "text" or form.shape != ():
            return None
        return str(np.frombuffer(member.read(), dtype)[0])


def _through_scratch(
    member: IO[bytes], form: Form, dtype: np.dtype[Any], start: int
) -> Iterator[Block]:
    """Unpack values that come column by column, and read them row by row."""
    with tempfile.TemporaryFile() as scratch:
        shutil.copyfileobj(member, scratch, _SKIPPED)
        scratch.flush()
        values = np.memmap(scratch, dtype, "r", shape=form.shape, order="F")
        yield from slices(values, form, start)


def _skip(member: IO[bytes], count: int) -> None:
    while count and (read := len(member.read(min(count, _SKIPPED)))):
        count -= read


def _member(archive: ZipFile, name: str) -> IO[bytes]:
    return archive.open(name + _MEMBER, "w", force_zip64=True)


def _write_texts(
    archive: ZipFile, name: str, cells: Sequence[str], shape: tuple[int, ...] | None = None
) -> None:
    dtype = np.dtype(f"<U{max(map(len, cells), default=1) or 1}")
    form = Form((len(cells), dtype.itemsize), "text", "other")
    step = block_rows(form)
    with _member(archive, name) as member:
        write_header(member, (len(cells),) if shape is None else shape, dtype)
        for first in range(0, len(cells), step):
            member.write(np.array(cells[first : first + step], dtype).tobytes())
