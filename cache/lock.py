"""One writer at a time: an advisory lock that the system drops when its process ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from cache.errors import StoreBusyError
from cache.layout import LOCK

try:
    import fcntl
except ImportError:  # not on this system: writers are not kept apart
    fcntl = None  # type: ignore[assignment]


def lock_for_writing(store: Path) -> IO[str]:
    """Take the lock of a store; closing the returned file gives it back.

    Raises:
        StoreBusyError: another writer has it.
    """
    file = open(store / LOCK, "a+")  # noqa: SIM115
    try:
        _lock(file, store)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


def _lock(file: IO[str], store: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        raise StoreBusyError(
            f"process {file.read() or 'unknown'} is writing to {store}: wait until it has ended, "
            "or choose another --store"
        ) from error
    except OSError:
        pass  # some network file systems have no locks
