"""Files at URLs, read and listed through fsspec; each call is tried again while it may help.

Nothing is remembered about what lies where, so what another machine wrote is seen at once.
"""

from __future__ import annotations

import errno
import io
import os
from functools import lru_cache
from typing import Any, BinaryIO

from cache.errors import InputError
from cache.places.attempts import attempt

_PACKAGES = {
    "s3": ("s3fs", "s3"),
    "s3a": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
    "gcs": ("gcsfs", "gcs"),
}
# Whole objects come by one request (s3fs asks for the size first, to split large ones); repeating
# is `attempt`'s part, because two kinds of it one inside the other would wait for many minutes.
_S3: dict[str, Any] = {
    "max_concurrency": 1,
    "config_kwargs": {"retries": {"max_attempts": 1}, "max_pool_connections": 64},
}
_BLOCK = 1 << 20  # bytes that a file is read by; a request takes about as long as 1 MB of content


def file_system(url: str) -> Any:
    """Return fsspec's file system for a URL, one for all threads of this process.

    Raises:
        InputError: the protocol is unknown, or its package is not installed.
    """
    protocol, _, rest = url.partition("://")
    return _file_system(protocol.lower(), rest.partition("/")[0], os.getpid())


@lru_cache(maxsize=64)
def _file_system(protocol: str, host: str, _process: int) -> Any:
    import fsspec

    options = dict(_S3) if protocol in ("s3", "s3a") else {}
    try:
        root = f"{protocol}://{host}/"
        # fsspec itself keeps one for each thread, each with connections of its own.
        options |= {"use_listings_cache": False, "skip_instance_cache": True}
        return fsspec.core.url_to_fs(root, **options)[0]
    except ImportError as error:
        package, extra = _PACKAGES.get(protocol, (None, None))
        advice = f"pip install 'dml[{extra}]'" if extra else str(error)
        raise InputError(
            f"{protocol}:// needs the package {package or 'of its file system'}: {advice}"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{protocol}://{host} cannot be used ({error}): expected a path, or a URL such as "
            "s3://bucket/photos or gs://bucket/photos"
        ) from error


def forget_connections() -> None:
    """Connect anew from now on, for example with other credentials."""
    _file_system.cache_clear()


def key_of(url: str) -> str:
    """Return the path by which the file system of a URL knows it."""
    key: str = file_system(url)._strip_protocol(url)
    return key


def read_url(url: str) -> bytes:
    """Return the content of a file; raises FileNotFoundError."""
    content: bytes = attempt(url, lambda: file_system(url).cat_file(key_of(url)))
    return content


def read_range(url: str, start: int, length: int) -> bytes:
    """Return part of a file, less where the file ends before; raises FileNotFoundError."""

    def read() -> bytes:
        try:
            found: bytes = file_system(url).cat_file(key_of(url), start=start, end=start + length)
        except OSError as error:
            if error.errno == errno.EINVAL and "range" in str(error):  # S3: it begins beyond
                return b""
            raise
        return found

    return attempt(url, read) if length else b""


def size_of_url(url: str) -> int:
    """Return the number of bytes of a file; raises FileNotFoundError, also for a folder."""
    info = attempt(url, lambda: file_system(url).info(key_of(url)))
    if info["type"] != "file":
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url)
    return int(info["size"])


def files_below(url: str) -> dict[str, int]:
    """List all files below a folder: path from there -> number of bytes; empty without any.

    Raises:
        FileNotFoundError: on some file systems, if there is no such bucket or folder.
    """
    found = attempt(url, lambda: file_system(url).find(key_of(url), detail=True))
    return _named(url, found.values())


def files_in(url: str) -> dict[str, int]:
    """List the files of a folder, not of those in it: name -> number of bytes."""
    try:
        found = attempt(url, lambda: file_system(url).ls(key_of(url), detail=True))
    except FileNotFoundError:
        return {}
    return _named(url, found)


def open_url(url: str) -> BinaryIO:
    """Open a file for reading and seeking; raises FileNotFoundError."""
    return io.BufferedReader(_Ranges(url, size_of_url(url)), _BLOCK)


class _Ranges(io.RawIOBase):
    """A file at a URL, each read of which is a request of its own."""

    def __init__(self, url: str, size: int) -> None:
        """Begin at the start of a file of `size` bytes."""
        self._url, self._size, self._at = url, size, 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place in the file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the file goes."""
        length = max(0, min(len(buffer), self._size - self._at))
        content = read_range(self._url, self._at, length)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def _named(url: str, entries: Any) -> dict[str, int]:
    folder = key_of(url).rstrip("/") + "/"
    return {
        entry["name"].removeprefix(folder): int(entry["size"] or 0)
        for entry in entries
        # A name that ends with a slash stands for an empty folder.
        if entry["type"] == "file" and entry["name"].startswith(folder) and entry["name"][-1] != "/"
    }
