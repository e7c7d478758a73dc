"""One writer at a time.

On this machine the system keeps the lock and drops it when the process ends, however it ends. At a
URL, and on network disks without locks, it is a lease: see `cache.locks.lease`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import IO, Protocol

from cache.errors import StoreBusyError
from cache.layout import LOCK
from cache.locks.lease import Lease
from cache.locks.owner import Owner, duration
from cache.places.place import Place

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None  # type: ignore[assignment]


class Lock(Protocol):
    """The right to write into one store.

    Attributes:
        remark: one line on what was unusual about taking it, or None.
    """

    @property
    def remark(self) -> str | None:
        """Return the remark."""

    def check(self) -> None:
        """Raise StoreBusyError if another process has it by now; to be called before writing."""

    def close(self) -> None:
        """Give it back."""


def lock_for_writing(place: Place) -> Lock:
    """Take the lock of a store.

    Raises:
        StoreBusyError: another writer has it.
    """
    path = place.path
    return _taken(path) if isinstance(path, Path) and _has_locks(path) else Lease.take(place)


class _SystemLock:
    """A lock of the operating system on a file; nobody can take it away."""

    remark: str | None = None

    def __init__(self, file: IO[bytes]) -> None:
        """Take the open, locked file and write into it who we are."""
        self._file = file
        file.truncate(0)
        file.write(Owner.here().to_json())
        file.flush()

    def check(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Give the lock back."""
        self._file.close()


def _has_locks(folder: Path) -> bool:
    """Tell whether the system keeps locks here; some network file systems have none."""
    if fcntl is None:
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _taken(store: Path) -> _SystemLock:
    """Take the system's lock.

    Raises:
        StoreBusyError: another process has it.
    """
    file = open(store / LOCK, "a+b")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _SystemLock(file)
    except BlockingIOError as error:
        file.seek(0)
        owner = Owner.from_json(file.read())
        file.close()
        raise _busy(store, owner) from error
    except BaseException:
        file.close()
        raise


def _busy(store: Path, owner: Owner | None) -> StoreBusyError:
    who = owner or "another process"
    age = f" for {duration(time.time() - owner.since)}" if owner else ""
    return StoreBusyError(
        f"{who} has been writing to {store}{age}: wait until it has ended, or choose another "
        "--store"
    )
