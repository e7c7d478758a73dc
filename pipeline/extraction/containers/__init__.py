"""Pictures inside archives and tables, read in place without unpacking.

A path with `::` names a file and something in it: `photos.zip::cats/1.jpg`, `shard.tar::0001.jpg`,
`train.parquet::17` or `train.parquet::image/17` (column and row), `data_batch_1::17` (a row of a
CIFAR batch). Each container is indexed once; a read opens the file for itself, so threads do not
wait for each other. A container that was written anew is indexed anew.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from cache.errors import DmlError, InputError
from cache.places.url_files import read_url, size_of_url
from cache.places.urls import Location, is_url, suffix_of

MARK = "::"
COMPRESSED = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tbz2", ".txz")
_KEPT = 1024  # indices of containers, the oldest is forgotten
_building = threading.Lock()  # so that threads do not build the same index side by side


class Container(Protocol):
    """Something with named pictures in it."""

    def names(self) -> Collection[str]:
        """List what it holds."""

    def has(self, name: str) -> bool:
        """Tell whether it holds a picture of this name, without reading it."""

    def size(self, name: str) -> int:
        """Return the picture's number of bytes; raises KeyError if it is not there."""

    def read(self, name: str) -> bytes:
        """Return the picture as an image file; raises KeyError if it is not there."""


def join(base: str, name: str) -> str:
    """Put a name below a folder, a container (`x.zip::`) or a folder in a container."""
    return base + name if base.endswith(MARK) else f"{base}/{name}"


def split(path: str | Path) -> tuple[str, str] | None:
    """Return the container and the name in it, or None for a path of an ordinary file."""
    file, mark, name = str(path).partition(MARK)
    # At a URL no look: it would be a request for each image.
    if not mark or not (is_url(file) or os.path.isfile(file)):
        return None
    return file, name.strip("/")


def is_there(path: str | Path) -> bool:
    """Tell whether there is a file or (on this machine) a folder, or a picture in a container.

    Raises:
        InputError: the container is damaged or of another kind.
        UnreachableError: the URL cannot be read.
    """
    if is_url(path) and MARK not in str(path):
        return size_of(path) >= 0
    parts = split(path)
    try:
        return os.path.exists(path) if parts is None else opened(parts[0]).has(parts[1])
    except FileNotFoundError:  # the container itself, at a URL
        return False


def is_folder(path: str | Path) -> bool:
    """Tell whether there is a folder, also in an archive.

    Raises:
        InputError: the archive is damaged or of another kind.
    """
    parts = split(path)
    if parts is None:
        return os.path.isdir(path)
    return any(each.startswith(f"{parts[1]}/") for each in opened(parts[0]).names())


def size_of(path: str | Path) -> int:
    """Return the number of bytes of a file or of a picture in a container; -1 where it is missing.

    Raises:
        InputError: the container is damaged or of another kind.
        UnreachableError: the URL cannot be read.
    """
    parts = split(path)
    try:
        if parts:
            return opened(parts[0]).size(parts[1])
        return size_of_url(str(path)) if is_url(path) else os.stat(path).st_size
    except (OSError, ValueError, KeyError) as error:  # missing, out of reach, or no possible path
        if isinstance(error, DmlError):
            raise
        return -1


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a file or of a picture in a container.

    Raises:
        FileNotFoundError: it is not there.
        InputError: the container is damaged or of another kind.
        UnreachableError: the URL cannot be read.
    """
    parts = split(path)
    if parts is None:
        return read_url(str(path)) if is_url(path) else Path(path).read_bytes()
    try:
        return opened(parts[0]).read(parts[1])
    except KeyError as error:
        raise FileNotFoundError(f"{parts[0]} holds no {parts[1]}") from error


def opened(file: str) -> Container:
    """Return the container in a file, indexed now or before.

    Raises:
        InputError: it is damaged or of another kind.
        UnreachableError: the URL cannot be read.
    """
    if is_url(file):  # indexed once in a process: to ask whether it changed takes a request
        changed, size = 0, 0
    else:
        status = os.stat(file)
        changed, size = status.st_mtime_ns, status.st_size
    with _building:
        return _indexed(file, changed, size)


@lru_cache(maxsize=_KEPT)
def _indexed(file: str, _changed: int, _size: int) -> Container:
    return _opener(file)(file if is_url(file) else Path(file))


def _opener(file: str) -> Callable[[Location], Container]:
    if file.lower().endswith(COMPRESSED):
        raise InputError(
            f"{file} is compressed as a whole, so no picture in it can be read alone: unpack it, "
            "or turn it into a plain .tar once"
        )
    suffix = suffix_of(file)
    if suffix == ".zip":
        from pipeline.extraction.containers._zip import ZipArchive

        return ZipArchive
    if suffix == ".tar":
        from pipeline.extraction.containers._tar import TarArchive

        return TarArchive
    if suffix == ".parquet":
        from pipeline.extraction.containers._parquet import ParquetImages

        return ParquetImages
    if suffix == "":
        from pipeline.extraction.containers._batch import CifarBatch

        return CifarBatch
    raise InputError(f"{file} is no container of pictures: expected a .zip, .tar or .parquet file")
