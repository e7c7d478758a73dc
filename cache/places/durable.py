"""Writing files so that they survive a power cut, and saying plainly why they cannot be written."""

from __future__ import annotations

import errno
import glob
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache.errors import DiskFullError, DmlError, InputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_WRITABLE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
}
PART = ".part"  # what the names of files end with that are being written
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP}


@contextmanager
def writing_to(path: object) -> Iterator[None]:
    """Turn the system's refusals to write below `path` into errors with a next step.

    Raises:
        DiskFullError: the disk or the quota is full, or a file would grow beyond its limit.
        InputError: the place cannot be written to at all.
    """
    try:
        yield
    except DmlError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        if error.errno in _FULL:
            raise DiskFullError(
                f"cannot go on writing to {path}: {reason}; the finished chunks are kept: "
                "make room and run the same command again"
            ) from error
        if error.errno in _NOT_WRITABLE:
            raise InputError(f"cannot write to {path}: {reason}; choose another --store") from error
        raise


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, where the file system can promise that."""
    try:
        sync_file(path)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def sync_tree(folder: Path) -> None:
    """Wait until a folder with everything in it is on the disk."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync_file(Path(place, name))
        sync_folder(Path(place))


def make_folders(folder: Path) -> None:
    """Make a folder with those above it, durably."""
    if not folder.is_dir():
        make_folders(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def append_to_file(path: Path, content: bytes, *, at: int) -> None:
    """Write at a place in a file, cut off what was there, and wait until it is on the disk."""
    with open(path, "r+b") as file:
        file.truncate(at)
        file.seek(at)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Give a file new content in one step: a reader sees the old or the new, never a mixture.

    What a killed writer of this file has left beside it is cleared away. Where one is still at
    work on it, this one wins and the other fails.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{PART}"):
        left.unlink(missing_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PART}")
    try:
        part.write_bytes(content)
        sync_file(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)
