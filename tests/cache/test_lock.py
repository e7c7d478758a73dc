"""One writer at a time, on this machine by the system's lock, elsewhere by a lease."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import cache.locks.lease
import cache.locks.lock
from cache.errors import StoreBusyError
from cache.layout import LOCK
from cache.locks.lock import lock_for_writing
from cache.locks.owner import Owner, duration
from cache.places.place import Place, place_of

NOW = 1_800_000_000.0
NO_PROCESS = 2**22 + 1  # beyond the largest number that Linux gives


@pytest.fixture(params=["network disk", "memory", "s3"])
def leased(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A place where the system keeps no locks."""
    monkeypatch.setattr(cache.locks.lease, "SETTLE", 0)
    if request.param == "s3":
        return place_of(f"{request.getfixturevalue('bucket')}/a.zarr")
    if request.param == "memory":
        return place_of(f"memory://{tmp_path.name}/a.zarr")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(cache.locks.lock.fcntl, "flock", refuse)
    (tmp_path / "a.zarr").mkdir()
    return place_of(tmp_path / "a.zarr")


def leave(place: Place, *, heartbeat: float, pid: int = 7, host: str = "elsewhere") -> None:
    """Write what a holder on another machine wrote at a heartbeat."""
    facts = {"user": "ann", "host": host, "pid": pid, "since": heartbeat - 3600}
    place.write(LOCK, json.dumps(facts | {"token": "t", "heartbeat": heartbeat}).encode())


def test_a_second_writer_is_told_who_the_first_one_is(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("LOGNAME", "ann")
    place = place_of(tmp_path)
    with monkeypatch.context() as then:
        then.setattr(time, "time", lambda: NOW - 200)
        lock = lock_for_writing(place)
    monkeypatch.setattr(time, "time", lambda: NOW)
    expected = (
        f"process {os.getpid()} of ann on host {socket.gethostname()} has been writing to "
        f"{tmp_path} for 3 min: wait until it has ended, or choose another --store"
    )
    with pytest.raises(StoreBusyError) as refused:
        lock_for_writing(place)
    assert str(refused.value) == expected
    lock.check()
    lock.close()
    lock_for_writing(place).close()


def test_the_system_drops_the_lock_of_a_killed_process(tmp_path: Path) -> None:
    code = (
        "from cache.locks.lock import lock_for_writing; from cache.places.place import place_of; "
        f"lock = lock_for_writing(place_of({str(tmp_path)!r})); print('held'); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(StoreBusyError, match=f"process {other.pid} of .* on host .* for"):
            lock_for_writing(place_of(tmp_path))
        other.kill()
    lock = lock_for_writing(place_of(tmp_path))
    assert lock.remark is None
    lock.close()


def test_a_lock_of_an_older_version_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("1234")
    lock_for_writing(place_of(tmp_path)).close()


def test_a_lease_is_one_writers_until_it_is_given_back(leased: Place) -> None:
    lease = lock_for_writing(leased)
    assert lease.remark is None
    lease.check()
    with pytest.raises(StoreBusyError, match=r"^process \d+ of .* on host .* has been writing to"):
        lock_for_writing(leased)
    lease.check()
    lease.close()
    with pytest.raises(FileNotFoundError):
        leased.read(LOCK)
    lock_for_writing(leased).close()


def test_of_many_who_begin_together_one_gets_the_lease(leased: Place) -> None:
    taken: list[Any] = []
    refused: list[StoreBusyError] = []
    together = threading.Barrier(6)

    def begin() -> None:
        together.wait()
        try:
            taken.append(lock_for_writing(leased))
        except StoreBusyError as error:
            refused.append(error)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (1, 5)
    taken[0].check()
    taken[0].close()


def test_a_fresh_lease_of_another_machine_is_respected(leased: Place) -> None:
    leave(leased, heartbeat=time.time() - 100)
    with pytest.raises(StoreBusyError, match="process 7 of ann on host elsewhere") as refused:
        lock_for_writing(leased)
    assert "for 1 h 1 min (last sign of life 1 min ago): wait until it has ended, or until it " in (
        str(refused.value)
    )
    assert json.loads(leased.read(LOCK))["token"] == "t"


def test_a_lease_without_a_heartbeat_is_taken_over_with_a_remark(leased: Place) -> None:
    leave(leased, heartbeat=time.time() - 301)
    lease = lock_for_writing(leased)
    assert lease.remark == (
        f"took over {leased}: process 7 of ann on host elsewhere gave no sign of life for 5 min"
    )
    lease.check()
    lease.close()


def test_a_lease_of_a_killed_process_of_this_machine_is_taken_over_at_once(leased: Place) -> None:
    leave(leased, heartbeat=time.time(), pid=NO_PROCESS, host=socket.gethostname())
    lease = lock_for_writing(leased)
    assert "gave no sign of life" in str(lease.remark)
    lease.close()


def test_a_lease_that_makes_no_sense_is_taken_over(leased: Place) -> None:
    leased.write(LOCK, b"")
    lease = lock_for_writing(leased)
    assert "named no holder" in str(lease.remark)
    lease.close()


def test_the_heartbeat_keeps_a_lease_fresh(leased: Place, monkeypatch: Any) -> None:
    monkeypatch.setattr(cache.locks.lease, "BEAT", 0.02)
    lease = lock_for_writing(leased)
    first = json.loads(leased.read(LOCK))
    until = time.monotonic() + 5
    while json.loads(leased.read(LOCK))["heartbeat"] == first["heartbeat"]:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert json.loads(leased.read(LOCK))["since"] == first["since"]
    lease.check()
    lease.close()


def test_who_lost_the_lease_stops_and_leaves_it_to_the_other(
    leased: Place, monkeypatch: Any
) -> None:
    monkeypatch.setattr(cache.locks.lease, "BEAT", 0.02)
    lease = lock_for_writing(leased)
    leave(leased, heartbeat=time.time())
    time.sleep(0.1)  # some heartbeats later it is still the other's
    with pytest.raises(StoreBusyError, match="^process 7 of ann on host elsewhere has taken over"):
        lease.check()
    lease.close()
    assert json.loads(leased.read(LOCK))["token"] == "t"


def test_who_finds_the_lease_removed_stops(leased: Place) -> None:
    lease = lock_for_writing(leased)
    leased.remove(LOCK)
    with pytest.raises(StoreBusyError, match=r"^somebody removed writer\.lock"):
        lease.check()
    lease.close()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (47 * 3600 + 120, "47 h 2 min"),
        (72 * 3600, "3 days"),
    ],
)
def test_lengths_of_time_are_put_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_an_owner_survives_json_and_nonsense_is_nobody() -> None:
    owner = Owner.here()
    assert Owner.from_json(owner.to_json()) == owner
    assert not owner.is_gone()
    for content in (b"", b"12", b"{}", b"[]", b"\xff", b'{"user": "a", "host": "b", "pid": "x"}'):
        assert Owner.from_json(content) is None
