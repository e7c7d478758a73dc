"""Networks, servers and disks far away that fail: what is tried again, what the user reads."""

from __future__ import annotations

import errno
from typing import Any

import pytest

import cache.places.attempts
from cache import FeatureStore
from cache.errors import DiskFullError, UnreachableError
from cache.places.place import place_of
from cache.places.url_files import files_below

from ..faulty import FaultyFileSystem, after, sometimes

URL = "faulty://bucket/a.zarr"
SERVER_ERROR = {"ResponseMetadata": {"HTTPStatusCode": 500}}


@pytest.mark.parametrize("seed", range(4))
def test_a_bad_network_loses_nothing_and_doubles_nothing(
    faulty: type[FaultyFileSystem], example: Any, seed: int
) -> None:
    """Four calls of ten fail, before or after they did their work."""
    example.num_rows = 40
    expected = example.write().content_hash()
    example.path = URL
    faulty.fail(
        before=sometimes(ConnectionResetError("reset"), rate=0.2, seed=seed),
        after=sometimes(TimeoutError("timed out"), rate=0.2, seed=seed + 100),
    )
    store = example.write(unreadable={})
    assert store.is_complete
    faulty.fail()
    store = FeatureStore.open(URL)
    assert store.content_hash() == expected
    assert (store.read().values == example.values).all()
    assert store.finished_chunks == store.num_chunks == 10
    assert sorted(name for name in files_below(URL) if "writer.lock" in name) == []


def test_a_network_that_breaks_down_stops_with_one_line_and_the_store_goes_on(
    faulty: type[FaultyFileSystem], example: Any
) -> None:
    example.num_rows = 40
    expected = example.write().content_hash()
    example.path = URL
    writer = example.writer()
    faulty.fail(before=after(4, OSError(errno.ENETUNREACH, "Network is unreachable"), "write"))

    def fill() -> None:
        with writer:
            for number in list(writer.pending):
                rows = writer.chunk(number)
                writer.write(number, example.values[rows.start : rows.stop], {})

    with pytest.raises(UnreachableError, match=r"^faulty://\S+ cannot be reached \(Network is unr"):
        fill()
    faulty.fail()
    place_of(URL).remove("writer.lock")  # this process lives, so its lease would hold on
    begun = FeatureStore.open(URL).finished_chunks
    assert 0 < begun < 10
    faulty.calls.clear()
    assert example.write().content_hash() == expected
    written = [path for operation, path in faulty.calls if operation == "write" and "/c/" in path]
    assert len(written) == len(set(written)) == 10 - begun  # each missing chunk once


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "cannot go on writing to faulty://"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "cannot go on writing to faulty://"),
    ],
)
def test_a_full_disk_far_away_is_told_as_one_here(
    faulty: type[FaultyFileSystem], example: Any, error: OSError, line: str
) -> None:
    example.path = URL
    with example.writer() as writer:
        faulty.fail(before=lambda operation, path: error if "/c/" in path else None)
        with pytest.raises(DiskFullError, match=line):
            writer.write(0, example.values[:4], {})
        assert len([path for _, path in faulty.calls if "/c/" in path]) == 1  # not tried again
        faulty.fail()
    assert example.write().is_complete


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError("The AWS Access Key Id you provided does not exist in our records."),
         "faulty://bucket/x refuses access (The AWS Access Key Id you provided does not exist in "
         "our records): check the credentials and what they may do there"),
        (type("NoCredentialsError", (Exception,), {})("Unable to locate credentials"),
         "there are no credentials for faulty://bucket/x (Unable to locate credentials): for s3:// "
         "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, for gs:// "
         "GOOGLE_APPLICATION_CREDENTIALS"),
        (OSError(errno.EINVAL, "The specified bucket is not valid."),
         "faulty://bucket/x cannot be used (The specified bucket is not valid): check the address"),
        (type("HttpError", (Exception,), {"code": 403})("Forbidden"),
         "faulty://bucket/x refuses access (Forbidden): check the credentials and what they may do "
         "there"),
    ],
)  # fmt: skip
def test_what_will_not_pass_is_tried_once_and_told_in_one_line(
    faulty: type[FaultyFileSystem], error: Exception, line: str
) -> None:
    faulty.fail(before=lambda operation, path: error)
    with pytest.raises(UnreachableError) as raised:
        place_of("faulty://bucket").read("x")
    assert str(raised.value) == line
    assert len(faulty.calls) == 1


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("reset"),
        TimeoutError("timed out"),
        OSError(errno.EBUSY, "Please reduce your request rate."),
        type("HttpError", (Exception,), {"code": 503})("unavailable"),
        type("ClientPayloadError", (Exception,), {})("not completed"),
        type("ClientError", (Exception,), {"response": SERVER_ERROR})(),
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_again_after_growing_pauses(
    faulty: type[FaultyFileSystem], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_of("faulty://bucket")
    place.write("x", b"1")
    monkeypatch.setattr(cache.places.attempts, "PAUSES", (1.0, 2.0, 4.0))
    pauses: list[float] = []
    monkeypatch.setattr(cache.places.attempts.time, "sleep", pauses.append)
    left = [error] * 3
    faulty.fail(before=lambda operation, path: left.pop() if left else None)
    assert place.read("x") == b"1"
    assert [bound / 2 <= pause <= bound for pause, bound in zip(pauses, (1, 2, 4), strict=True)]
    faulty.fail(before=lambda operation, path: error)
    with pytest.raises(
        UnreachableError, match=r"^faulty://bucket/x cannot be reached \(.*\), after 4"
    ):
        place.read("x")
    assert len(pauses) == 6


def test_a_fault_of_a_program_is_neither_repeated_nor_dressed_up(
    faulty: type[FaultyFileSystem],
) -> None:
    faulty.fail(before=lambda operation, path: TypeError("no such argument"))
    with pytest.raises(TypeError):
        place_of("faulty://bucket").read("x")
    assert len(faulty.calls) == 1
