"""The bytes of a container, on this machine or at a URL."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from cache.places.url_files import open_url, read_range, read_url
from cache.places.urls import Location


def open_source(file: Location) -> BinaryIO:
    """Open a file for reading and seeking; raises OSError."""
    return file.open("rb") if isinstance(file, Path) else open_url(file)


def read_part(file: Location, start: int, length: int) -> bytes:
    """Return part of a file, less where the file ends before; raises OSError."""
    if not isinstance(file, Path):
        return read_range(file, start, length)
    with file.open("rb") as stream:
        stream.seek(start)
        return stream.read(length)


def read_whole(file: Location) -> bytes:
    """Return a file's content; raises OSError."""
    return file.read_bytes() if isinstance(file, Path) else read_url(file)
