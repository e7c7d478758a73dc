"""A lock where the system keeps none: an object that its holder writes again and again.

Whoever creates `writer.lock` holds the store, for as long as the heartbeat in it is fresh. A holder
that was killed leaves one that grows old; after five minutes, or at once if its process is known to
have ended, another takes over. A holder that was only asleep then finds another's name in the
object and stops before it writes again. The clocks of the machines have to agree to a few minutes.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from cache.errors import StoreBusyError, UnreachableError
from cache.layout import LOCK
from cache.locks.owner import Owner, duration
from cache.places.place import Place

BEAT = 20.0  # seconds between two heartbeats
DEAD = 300.0  # without one for so long, a holder counts as gone
SETTLE = 1.0  # so that of two who take over at the same time the earlier one sees the later one
_TRIES = 3


@dataclass(frozen=True)
class _Holding:
    """What the object says.

    Attributes:
        owner: who holds the store.
        token: random, so that it is nobody else's.
        heartbeat: when it was last written, in seconds since 1970.
    """

    owner: Owner
    token: str
    heartbeat: float

    def to_json(self) -> bytes:
        return json.dumps(
            asdict(self.owner) | {"token": self.token, "heartbeat": self.heartbeat}
        ).encode()

    @property
    def is_dead(self) -> bool:
        return time.time() - self.heartbeat > DEAD or self.owner.is_gone()


class Lease:
    """The lease of one store, kept alive by a thread until it is closed."""

    def __init__(self, place: Place, holding: _Holding, remark: str | None) -> None:
        """Take a lease that was just written; `take` does that."""
        self.remark = remark
        self._place = place
        self._holding = holding
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="writer.lock", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, place: Place) -> Lease:
        """Become the one writer of a store.

        Raises:
            StoreBusyError: another writer has it.
        """
        mine = _Holding(Owner.here(), uuid.uuid4().hex, time.time())
        for _ in range(_TRIES):
            if place.claim(LOCK, mine.to_json()):
                return cls(place, mine, None)
            other, is_there = _read(place)
            if not is_there:  # given back in between
                continue
            if other and not other.is_dead:
                break
            place.write(LOCK, mine.to_json())
            time.sleep(SETTLE)
            now, _ = _read(place)
            if now and now.token == mine.token:
                return cls(place, mine, _took_over(place, other))
        raise _busy(place)

    def check(self) -> None:
        """Raise StoreBusyError unless the store is still ours."""
        now, _ = _read(self._place)
        if now and now.token == self._holding.token:
            return
        what = f"{now.owner} has taken over" if now else "somebody removed"
        raise StoreBusyError(
            f"{what} {LOCK} of {self._place} while this process was silent for too long: stopped "
            "before anything was written twice; run the same command again when it has ended"
        )

    def close(self) -> None:
        """Give the lease back, if it is still ours."""
        self._is_closed.set()
        self._thread.join()
        with suppress(UnreachableError):  # it grows old by itself
            now, _ = _read(self._place)
            if now and now.token == self._holding.token:
                self._place.remove(LOCK)

    def _beat(self) -> None:
        while not self._is_closed.wait(BEAT):
            with suppress(UnreachableError, OSError):  # the next one may come through
                now, _ = _read(self._place)
                if not now or now.token != self._holding.token:
                    return  # `check` tells
                holding = replace(self._holding, heartbeat=time.time())
                self._place.write(LOCK, holding.to_json())


def _read(place: Place) -> tuple[_Holding | None, bool]:
    """Return what the object says, None if that is nonsense, and whether it is there."""
    try:
        content = place.read(LOCK)
    except FileNotFoundError:
        return None, False
    owner = Owner.from_json(content)
    if owner is None:
        return None, True
    facts: Any = json.loads(content)
    try:
        return _Holding(owner, str(facts["token"]), float(facts["heartbeat"])), True
    except (KeyError, TypeError, ValueError):
        return None, True


def _took_over(place: Place, other: _Holding | None) -> str:
    if other is None:
        return f"took over {LOCK} of {place}, which named no holder"
    silence = duration(time.time() - other.heartbeat)
    return f"took over {place}: {other.owner} gave no sign of life for {silence}"


def _busy(place: Place) -> StoreBusyError:
    other, _ = _read(place)
    if other is None:
        return StoreBusyError(
            f"other processes are just beginning to write to {place}: try again, or choose "
            "another --store"
        )
    now = time.time()
    return StoreBusyError(
        f"{other.owner} has been writing to {place} for {duration(now - other.owner.since)} (last "
        f"sign of life {duration(now - other.heartbeat)} ago): wait until it has ended, or until "
        f"it has been silent for {duration(DEAD)}, or choose another --store"
    )
