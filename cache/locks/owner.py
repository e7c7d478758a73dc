"""Who writes into a store, and since when: for the line that another writer is refused with."""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Owner:
    """A process that holds a store.

    Attributes:
        user: its user's name.
        host: its machine's name.
        pid: its number there.
        since: when it began, in seconds since 1970.
    """

    user: str
    host: str
    pid: int
    since: float

    @classmethod
    def here(cls) -> Owner:
        """Return this process, beginning now."""
        return cls(_user(), socket.gethostname(), os.getpid(), time.time())

    @classmethod
    def from_json(cls, content: bytes) -> Owner | None:
        """Read what `to_json` gave; None if it is anything else."""
        try:
            facts: Any = json.loads(content)
            return cls(
                str(facts["user"]), str(facts["host"]), int(facts["pid"]), float(facts["since"])
            )
        except (ValueError, KeyError, TypeError):
            return None

    def to_json(self) -> bytes:
        """Return the facts as JSON."""
        return json.dumps(asdict(self)).encode()

    def __str__(self) -> str:
        """Return the words of a message."""
        return f"process {self.pid} of {self.user} on host {self.host}"

    def is_gone(self) -> bool:
        """Tell whether it was a process of this machine that has ended."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):  # of another user: it is there
            return False
        return False


def duration(seconds: float) -> str:
    """Put a length of time into words, as coarse as people say it."""
    minutes, hours = int(seconds / 60), int(seconds / 3600)
    if minutes < 1:
        return f"{max(0, int(seconds))} s"
    if hours < 1:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60} min"
    return f"{hours // 24} days"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # containers may run without a name
        return "unknown"
