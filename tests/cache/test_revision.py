"""A store grows, shrinks and is mended; what it has already is never made again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zarr

from cache import (
    FeatureStore,
    InputError,
    StoreCorruptError,
    StoreMismatchError,
    rows_digest,
)
from cache.places.place import LocalPlace
from cache.revision import remove_rows

OLD = {name: 100 + row for row, name in enumerate("abcdefghij")}  # id -> bytes


def listing(example: Any, files: dict[str, int], **columns: Sequence[str]) -> Any:
    """Make the example one of these files."""
    example.num_rows = len(files)
    example.columns = {"id": list(files), "bytes": list(files.values()), **columns}
    example.facts["rows_digest"] = rows_digest(files, files.values())
    return example


def values_of(names: Sequence[str]) -> Any:
    """A feature vector for each name, whatever else there is."""
    return np.array([[ord(name[0]), len(name), 0, 0, 0, 1] for name in names], "float16")


def fill(example: Any, **options: Any) -> list[str]:
    """Make what is pending, by names; return the names that were asked for."""
    made = []
    with example.writer(**options) as writer:
        names = writer.rows["id"].to_pylist()
        for number in list(writer.pending):
            wanted = [names[row] for row in writer.chunk(number)]
            writer.write(number, values_of(wanted), {})
            made += wanted
    return made


def assert_holds(example: Any, names: str | Sequence[str]) -> None:
    features = FeatureStore.open(example.path).read()
    assert features.rows["id"].to_pylist() == list(names)
    np.testing.assert_array_equal(features.values, values_of(names))


def test_new_images_are_added_and_only_they_are_made(example: Any) -> None:
    fill(listing(example, OLD))
    made = fill(listing(example, {"new": 1, **OLD, "k": 5}), update=True)
    assert made == ["new", "k"]
    assert_holds(example, [*OLD, "new", "k"])


def test_a_longer_list_is_refused_without_being_asked_for(example: Any) -> None:
    fill(listing(example, OLD))
    before = example.content()
    other = {name: OLD[name] for name in "cdefghij"}
    with pytest.raises(StoreMismatchError, match=r"1 are new or changed, 2 are gone .* --update"):
        fill(listing(example, {**other, "k": 5}))
    with pytest.raises(StoreMismatchError, match="stand in another order"):
        fill(listing(example, dict(reversed(OLD.items()))))
    assert example.content() == before


def test_the_same_list_once_more_changes_nothing(example: Any) -> None:
    fill(listing(example, OLD))
    grown = {"new": 1, **OLD}
    fill(listing(example, grown), update=True)
    before = example.content()
    assert fill(listing(example, grown)) == []
    assert example.content() == before


def test_images_that_are_not_listed_any_more_are_not_seen(example: Any) -> None:
    fill(listing(example, OLD))
    fewer = {name: size for name, size in OLD.items() if name not in "adj"}
    with listing(example, fewer).writer(update=True) as writer:
        assert (writer.pending, tuple(writer.changes)) == ([], (0, 0, 3, 0))
    assert_holds(example, "bcefghi")
    store = FeatureStore.open(example.path)
    assert (store.num_rows, store.on_disk().num_rows) == (7, 7)
    assert store.fingerprint.rows_digest == rows_digest(fewer, fewer.values())


def test_a_changed_file_is_made_anew(example: Any) -> None:
    fill(listing(example, OLD))
    assert fill(listing(example, {**OLD, "c": 7}), update=True) == ["c"]
    assert_holds(example, "abdefghijc")


def test_an_image_that_comes_back_is_made_anew(example: Any) -> None:
    fill(listing(example, OLD))
    fill(listing(example, {name: OLD[name] for name in "abc"}), update=True)
    assert fill(listing(example, {name: OLD[name] for name in "abcd"}), update=True) == ["d"]
    assert_holds(example, "abcd")


def test_labels_are_brought_up_to_date_with_the_list(example: Any) -> None:
    fill(listing(example, OLD))
    grown = {"k": 5, **OLD}
    fill(listing(example, grown, label=[f"of {name}" for name in grown]), update=True)
    rows = FeatureStore.open(example.path).rows
    assert rows["label"].to_pylist() == [f"of {name}" for name in rows["id"].to_pylist()]


def test_an_unfinished_store_can_be_brought_up_to_date(example: Any) -> None:
    with listing(example, OLD).writer() as writer:
        writer.write(0, values_of("abcd"), {1: "broken"})
    made = fill(listing(example, {**OLD, "k": 5}), update=True)
    assert made == list("efghijk")
    store = FeatureStore.open(example.path)
    assert store.unreadable == {1: "broken"}
    np.testing.assert_array_equal(store.read().values, values_of("acdefghijk"))


@pytest.mark.parametrize("field", ["backbone", "dtype", "pool"])
def test_other_facts_are_refused_before_anything_changes(example: Any, field: str) -> None:
    fill(listing(example, OLD))
    before = example.content()
    example.facts[field] = {"backbone": "other", "dtype": "float32", "pool": "max"}[field]
    with pytest.raises(StoreMismatchError, match=field):
        fill(listing(example, {**OLD, "k": 5}), update=True)
    assert example.content() == before


def test_new_images_need_the_same_versions_and_fewer_do_not(example: Any) -> None:
    fill(listing(example, OLD))
    example.facts["versions"] = {"torch": "9.9"}
    with pytest.raises(StoreMismatchError, match="versions"):
        fill(listing(example, {**OLD, "k": 5}), update=True)
    fill(listing(example, {"a": OLD["a"], "b": OLD["b"]}), update=True)
    assert_holds(example, "ab")


def test_a_store_without_sizes_learns_them_from_its_own_list(example: Any) -> None:
    listing(example, OLD)
    sizes = example.columns.pop("bytes")
    fill(example)
    grown = {**OLD, "k": 5}
    with pytest.raises(InputError, match="does not know the sizes.* with the list"):
        fill(listing(example, grown), update=True)
    assert fill(listing(example, OLD)) == []
    assert FeatureStore.open(example.path).table["bytes"].to_pylist() == sizes
    assert fill(listing(example, grown), update=True) == ["k"]


@pytest.mark.parametrize("killed_at", range(8))
def test_an_update_that_is_killed_at_any_write_leaves_the_old_store_or_the_new_one(
    example: Any, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    fill(listing(example, OLD))
    grown, calls = {**OLD, "k": 5, "l": 6}, iter(range(100))
    write = LocalPlace.write

    def killing(place: LocalPlace, name: str, content: Any) -> None:
        if next(calls) == killed_at:
            raise KeyboardInterrupt
        write(place, name, content)

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(LocalPlace, "write", killing)
        fill(listing(example, grown), update=True)
    store = FeatureStore.open(example.path)
    if store.is_complete:
        assert store.rows["id"].to_pylist() in (list(OLD), list(grown))
    fill(listing(example, grown), update=True)
    assert_holds(example, list(grown))


def test_a_chunk_that_grows_keeps_counting_with_its_first_rows_until_the_ledger_says_more(
    example: Any,
) -> None:
    fill(listing(example, OLD))
    with listing(example, {**OLD, "k": 5}).writer(update=True) as writer:
        assert writer.chunk(2) == range(10, 11)
        writer.files.write(2, values_of("k"), {})  # killed before it was noted
    store = FeatureStore.open(example.path)
    assert (store.verify(), store.is_complete) == ([], False)
    assert fill(example) == ["k"]
    assert_holds(example, "abcdefghijk")


def test_a_damaged_chunk_is_not_grown(example: Any) -> None:
    fill(listing(example, OLD))
    file = example.path / "features" / "c" / "2" / "0"
    file.write_bytes(bytes(len(file.read_bytes())))
    grown = listing(example, {**OLD, "k": 5})
    with pytest.raises(StoreCorruptError, match="--repair"):
        fill(grown, update=True)
    assert fill(grown, repair=True) == ["i", "j", "k"]
    assert_holds(example, "abcdefghijk")


def test_other_zarr_readers_see_the_longer_array(example: Any) -> None:
    fill(listing(example, OLD))
    fill(listing(example, {**OLD, "k": 5}), update=True)
    array: Any = zarr.open_array(example.path / "features", mode="r")
    np.testing.assert_array_equal(array[:], values_of("abcdefghijk"))


def test_rows_are_removed_by_their_ids(example: Any) -> None:
    fill(listing(example, OLD))
    assert remove_rows(example.path, ["b", "j"]).num_rows == 8
    assert_holds(example, "acdefghi")
    fewer = {name: OLD[name] for name in "acdefghi"}
    assert fill(listing(example, fewer)) == []  # the shorter list fits


@pytest.mark.parametrize(
    ("ids", "message"), [(["zz"], "no row 'zz': nothing was removed"), (list(OLD), "would be left")]
)
def test_rows_that_cannot_be_removed_are_refused(
    example: Any, ids: list[str], message: str
) -> None:
    fill(listing(example, OLD))
    before = example.content()
    with pytest.raises(InputError, match=message):
        remove_rows(example.path, ids)
    assert example.content() == before


def test_equal_content_has_an_equal_hash_however_it_was_written(
    example: Any, tmp_path: Any
) -> None:
    fill(listing(example, OLD))
    whole = FeatureStore.open(example.path).content_hash()
    other = listing(type(example)(tmp_path / "other.zarr"), OLD)
    with other.writer() as writer:
        for number in (2, 0, 1):
            rows = writer.chunk(number)
            writer.write(number, values_of(list(OLD)[rows.start : rows.stop]), {})
    assert FeatureStore.open(other.path).content_hash() == whole
    lines = [json.loads(line) for line in (other.path / "ledger.jsonl").read_text().splitlines()]
    assert [line["chunk"] for line in lines] == [2, 0, 1]


def test_tables_of_former_lists_are_cleared_away(example: Any) -> None:
    fill(listing(example, OLD))
    for count in range(9, 4, -1):
        fill(listing(example, dict(list(OLD.items())[:count])), update=True)
    assert len(list(example.path.glob("rows*.parquet"))) == 2
    assert isinstance(FeatureStore.open(example.path).rows, pa.Table)
