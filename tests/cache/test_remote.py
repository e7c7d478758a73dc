"""A store at a URL: what its place does, what the user reads."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cache import FeatureStore
from cache.errors import InputError, StoreBusyError, StoreNotFoundError, UnreachableError
from cache.places.place import Place, place_of
from cache.places.url_files import file_system, files_below, open_url, read_range, size_of_url

from ..faulty import after

URL = "faulty://bucket/a.zarr"


@pytest.fixture(params=["memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "s3":
        return place_of(f"{request.getfixturevalue('bucket')}/deep/a.zarr/")
    return place_of(f"memory://{tmp_path.name}/deep/a.zarr/")


def test_a_place_far_away_does_what_one_here_does(place: Place) -> None:
    assert place.is_free()
    assert place.names("") == []
    assert place.create({"features/zarr.json": b"1", "ledger.jsonl": b"", "zarr.json": b"22"})
    assert not place.create({"ledger.jsonl": b"other", "zarr.json": b"other"})
    assert not place.is_free()
    assert place.names("") == ["ledger.jsonl", "zarr.json"]
    assert (place.names("features"), place.names("nowhere")) == (["zarr.json"], [])
    assert (place.read("ledger.jsonl"), place.read("zarr.json")) == (b"", b"22")
    assert place.size_on_disk() == 3
    place.write("zarr.json", memoryview(b"333"))
    assert place.read("zarr.json") == b"333"
    place.remove("zarr.json")
    place.remove("zarr.json")
    with pytest.raises(FileNotFoundError):
        place.read("zarr.json")


def test_a_file_is_claimed_by_one_alone(place: Place) -> None:
    assert place.claim("x", b"mine")
    assert not place.claim("x", b"yours")
    assert place.read("x") == b"mine"


def test_parts_of_a_file_are_read_and_a_wrong_size_is_seen(place: Place) -> None:
    content = os.urandom(3 << 20)
    place.write("c/0", content)
    at = [(5, 10), (2 << 20, 7), (40, 0), (len(content) - 3, 3)]
    buffers = [bytearray(length) for _, length in at]
    place.read_parts(
        "c/0", [(start, memoryview(b)) for (start, _), b in zip(at, buffers, strict=True)]
    )
    assert [bytes(b) for b in buffers] == [content[start : start + n] for start, n in at]
    whole = bytearray(len(content))
    place.read_parts("c/0", [(0, memoryview(whole))], size=len(content))
    assert whole == content
    for wrong in (len(content) - 1, len(content) + 1):
        with pytest.raises(EOFError):
            place.read_parts("c/0", [(0, memoryview(bytearray(wrong)))], size=wrong)
    with pytest.raises(EOFError):
        place.read_parts("c/0", [(len(content) + 5, memoryview(bytearray(1)))])
    with pytest.raises(FileNotFoundError):
        place.read_parts("c/1", [(0, memoryview(bytearray(1)))])


def test_a_file_far_away_can_be_read_like_one_here(place: Place) -> None:
    content = os.urandom(2_500_000)
    place.write("x", content)
    with open_url(f"{place}/x") as stream:
        stream.seek(-10, os.SEEK_END)
        assert stream.read() == content[-10:]
        stream.seek(1_000_000)
        assert stream.read(1_200_000) == content[1_000_000:2_200_000]
        assert stream.tell() == 2_200_000
    assert size_of_url(f"{place}/x") == len(content)
    assert read_range(f"{place}/x", len(content), 5) == b""
    with pytest.raises(FileNotFoundError):
        size_of_url(str(place))  # a folder


def test_what_another_machine_writes_is_seen_at_once(bucket: str) -> None:
    import s3fs

    place = place_of(f"{bucket}/a.zarr")
    assert place.names("") == []
    s3fs.S3FileSystem(skip_instance_cache=True).pipe_file(f"{bucket}/a.zarr/new", b"1")
    assert place.names("") == ["new"]


def test_a_store_that_was_left_half_made_is_begun_again(faulty: Any, example: Any) -> None:
    example.path = URL
    faulty.fail(before=after(3, KeyError("killed"), "write"))
    with pytest.raises(KeyError):
        example.writer()
    assert files_below(URL)
    faulty.fail()
    with pytest.raises(StoreNotFoundError):
        FeatureStore.open(URL)
    assert example.write().is_complete
    assert ".making" not in files_below(URL)


def test_a_store_that_was_just_made_counts_although_its_maker_was_killed(
    faulty: Any, example: Any
) -> None:
    example.path = URL
    faulty.fail(before=after(0, KeyError("killed"), "remove"))
    with pytest.raises(KeyError):
        example.writer()
    faulty.fail()
    assert FeatureStore.open(URL).finished_chunks == 0
    assert example.write().is_complete


KILLED = """
import pickle, sys, time
from cache import StoreWriter
path, values, options = pickle.load(sys.stdin.buffer)
writer = StoreWriter.create_or_resume(path, **options)
for number in writer.pending[:3]:
    rows = writer.chunk(number)
    writer.write(number, values[rows.start : rows.stop], {})
print("three", flush=True)
time.sleep(60)
"""


def test_a_writer_far_away_that_is_killed_gives_its_place_free(
    bucket: str, example: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.locks.lease.SETTLE", 0)
    example.num_rows = 40
    expected = example.write().content_hash()
    example.path = f"{bucket}/a.zarr"
    options = {"fingerprint": example.fingerprint, "rows": example.rows, "chunk_rows": 4}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.write(
            pickle.dumps((example.path, example.values, options | {"root": "photos"}))
        )
        other.stdin.close()
        assert other.stdout.readline() == b"three\n"
        with pytest.raises(StoreBusyError, match=f"^process {other.pid} of .* has been writing to"):
            example.writer()
        other.kill()
    assert FeatureStore.open(example.path).finished_chunks == 3
    with example.writer() as writer:
        assert f"process {other.pid} of" in writer.remark
        assert writer.pending == [3, 4, 5, 6, 7, 8, 9]
    assert example.write().content_hash() == expected


def test_a_missing_bucket_is_named_before_anything_is_made(bucket: str, example: Any) -> None:
    example.path = "s3://no-such-bucket-here/a.zarr"
    with pytest.raises(InputError, match=r"there is no s3://no-such-bucket-here: make this bucket"):
        example.writer()
    with pytest.raises(StoreNotFoundError, match="there is no feature store at s3://no-such"):
        FeatureStore.open(example.path)


def test_missing_credentials_are_one_line(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from cache.places.url_files import forget_connections

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    forget_connections()
    with pytest.raises(UnreachableError, match=f"^there are no credentials for {bucket}/x"):
        place_of(bucket).read("x")


def test_a_missing_package_or_an_unknown_protocol_is_one_line(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(InputError) as missing:
        place_of("gs://bucket/a.zarr")
    assert str(missing.value) == "gs:// needs the package gcsfs: pip install 'dml[gcs]'"
    with pytest.raises(InputError, match=r"^nosuch://bucket cannot be used \(Protocol not known"):
        place_of("nosuch://bucket/a.zarr")


def test_one_file_system_serves_all_threads(bucket: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        assert len(set(map(id, pool.map(file_system, [bucket] * 8)))) == 1
