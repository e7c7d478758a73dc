"""Features on the disk: filled into memory, walked through, or taken by row number."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zarr.codecs import ZstdCodec

import cache.array
from cache import FeatureRows, FeatureStore, InputError, StoreCorruptError, StoreIncompleteError

UNREADABLE = {
    "none": {},
    "some": dict.fromkeys([0, 3, 4, 9], "truncated"),
    "a chunk": dict.fromkeys(range(4, 8), "truncated"),
    "all": dict.fromkeys(range(10), "truncated"),
}


@pytest.fixture(params=["plain, rows alone", "plain, whole chunks", "zstd"])
def stored(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have stores written, and rows of them read, in one of the ways that there are."""
    if request.param == "zstd":
        monkeypatch.setattr(cache.array, "_COMPRESSORS", ZstdCodec(level=1))
    if request.param == "plain, rows alone":
        monkeypatch.setattr(cache.array, "_A_READ", 0)
    return str(request.param)


@pytest.fixture(params=UNREADABLE)
def store(request: pytest.FixtureRequest, stored: str, example: Any) -> FeatureStore:
    written: FeatureStore = example.write(unreadable=UNREADABLE[request.param])
    return written


def row_numbers(count: int) -> list[tuple[int, ...]]:
    """List none, each, each two and all of so many rows, and all but each."""
    sizes = {0, 1, 2, count - 1, count} & set(range(count + 1))
    return [each for size in sizes for each in itertools.combinations(range(count), size)]


def test_any_rows_are_those_of_a_whole_read(store: FeatureStore) -> None:
    values, rows = store.read().values, store.on_disk()
    for wanted in row_numbers(len(values)):
        taken = rows.take(np.array(wanted, np.int64))
        np.testing.assert_array_equal(taken, values[list(wanted)])
        assert taken.dtype == values.dtype


def test_rows_are_taken_into_an_array_that_is_there(store: FeatureStore) -> None:
    values = store.read().values
    wanted = np.arange(0, len(values), 2)
    out = np.empty((len(wanted), 6), "float16")
    assert store.on_disk().take(wanted, out=out) is out
    np.testing.assert_array_equal(out, values[wanted])


def test_any_stretch_is_filled_in(store: FeatureStore) -> None:
    values, rows = store.read().values, store.on_disk()
    for start, stop in itertools.combinations_with_replacement(range(len(values) + 1), 2):
        filled, told = np.zeros((stop - start, 6), "float16"), []
        rows.read_into(filled, start=start, progress=lambda *each, told=told: told.append(each))
        np.testing.assert_array_equal(filled, values[start:stop])
        assert [total for _, total in told] == [stop - start] * len(told)
        assert told[-1][0] == stop - start if told else start == stop


def test_the_walk_meets_every_row_once_in_order(store: FeatureStore) -> None:
    values, rows = store.read().values, store.on_disk()
    walk = list(rows.chunks())
    assert [row for numbers, _ in walk for row in numbers] == list(range(len(values)))
    for numbers, part in walk:
        np.testing.assert_array_equal(part, values[numbers.start : numbers.stop])


def test_a_walk_can_be_left_early(store: FeatureStore) -> None:
    walk = store.on_disk().chunks()
    next(walk, None)
    walk.close()


def test_what_is_read_can_become_a_tensor_without_a_copy(store: FeatureStore) -> None:
    flags = store.read().values.flags
    assert (flags.writeable, flags.c_contiguous, flags.owndata) == (True, True, True)


def test_several_threads_can_take_rows_at_once(example: Any, stored: str) -> None:
    example.num_rows = 200
    rows, values = example.write().on_disk(), example.values

    def is_right(seed: int) -> bool:
        wanted = np.flatnonzero(np.random.default_rng(seed).random(200) < 0.3)
        return np.array_equal(rows.take(wanted), values[wanted])

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(is_right, range(16)))


def test_only_chunks_with_wanted_rows_are_read(example: Any, stored: str) -> None:
    rows = example.write().on_disk()
    (example.path / "features" / "c" / "1" / "0").unlink()
    np.testing.assert_array_equal(rows.take(np.array([1, 9])), example.values[[1, 9]])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([-1, 2], "there is no row -1 in .*, expected 0 to 5"),
        ([1, 6], "there is no row 6 in .*, expected 0 to 5"),
        ([2, 2], "row 2 comes after row 2, expected strictly ascending"),
        ([3, 1], "row 1 comes after row 3, expected strictly ascending"),
        ([9, 1], "row 1 comes after row 9, expected strictly ascending"),
        ([[1, 2]], r"int64 \(1, 2\), expected integers \(n,\)"),
        ([0.5], r"float64 \(1,\), expected integers"),
    ],
)
def test_rows_that_cannot_be_taken_are_refused(
    example: Any, wanted: list[Any], message: str
) -> None:
    rows = example.write(unreadable=UNREADABLE["some"]).on_disk()
    with pytest.raises(InputError, match=message):
        rows.take(np.array(wanted))


def read_only(shape: tuple[int, int]) -> np.ndarray:
    values = np.empty(shape, "float16")
    values.flags.writeable = False
    return values


@pytest.mark.parametrize(
    "values",
    [
        np.empty((10, 6), "float32"),
        np.empty((10, 5), "float16"),
        np.empty(60, "float16"),
        np.empty((6, 10), "float16").T,
        np.empty((20, 6), "float16")[::2],
        read_only((10, 6)),
    ],
)
def test_an_array_that_cannot_be_filled_is_refused(example: Any, values: np.ndarray) -> None:
    rows = example.write().on_disk()
    for fill in (rows.read_into, lambda out: rows.take(np.arange(10), out=out)):
        with pytest.raises(InputError, match=r"expected float16 \(rows, 6\), writable"):
            fill(values)


def test_an_array_with_more_rows_than_there_are_is_refused(example: Any) -> None:
    rows = example.write().on_disk()
    for start, row in ((1, "10"), (-1, "-1")):
        with pytest.raises(InputError, match=f"there is no row {row} "):
            rows.read_into(np.empty((10, 6), "float16"), start=start)
    with pytest.raises(InputError, match="has 3 rows, expected 2"):
        rows.take(np.arange(2), out=np.empty((3, 6), "float16"))


def test_an_incomplete_store_has_no_rows_yet(example: Any) -> None:
    with pytest.raises(StoreIncompleteError, match="2 of 3 chunks"):
        example.write(chunks=[0, 2]).on_disk()


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def lengthen(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"more")


def fill(rows: FeatureRows) -> None:
    rows.read_into(np.empty((8, 6), "float16"), start=1)


def walk(rows: FeatureRows) -> None:
    list(rows.chunks())


def take(rows: FeatureRows) -> None:
    rows.take(np.array([1, 5, 9]))


@pytest.mark.parametrize("use", [fill, walk, take])
@pytest.mark.parametrize("damage", [flip_a_byte, truncate, lengthen, Path.unlink])
def test_a_damaged_chunk_is_named(
    example: Any, stored: str, damage: Callable[[Path], None], use: Callable[[FeatureRows], None]
) -> None:
    rows = example.write().on_disk()
    damage(example.path / "features" / "c" / "1" / "0")
    if (stored, damage) == ("zstd", lengthen):
        return  # the decoder does not mind what follows
    if (stored, damage, use) == ("plain, rows alone", flip_a_byte, take):
        return  # the checksum is one of the whole chunk
    with pytest.raises(StoreCorruptError, match=r"chunk 1 of .*dml extract.*--repair"):
        use(rows)


def test_few_chunks_are_in_memory_at_once(example: Any, stored: str) -> None:
    example.num_rows, example.num_features, example.chunk_rows = 1000, 1000, 10
    rows = example.write().on_disk()
    whole, chunk = 1000 * 1000 * 2, 10 * 1000 * 2
    uses: list[Callable[[], Any]] = [
        lambda: [values.sum() for _, values in rows.chunks()],
        lambda: rows.take(np.arange(0, 1000, 10)),
        lambda: rows.read_into(np.empty((100, 1000), "float16"), start=95),
    ]
    for use in uses:
        tracemalloc.start()
        use()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 40 * chunk < whole / 2  # 10 of them are the result
