"""Stores of every format that there was are read, verified and taken up, for ever.

`stores/` holds one of each, as the program of its time wrote it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from cache import FeatureStore, Fingerprint, StoreCorruptError, StoreWriter

STORES = Path(__file__).parent / "stores"
FIRST = ("version-1.zarr", "version-1-compressed.zarr")
VALUES = (np.arange(60).reshape(10, 6) / 8 - 3).astype("float16")
READABLE = np.delete(np.arange(10), 5)
DIGEST_OF_THE_FIRST = "fce84d8c5977c57f6beee73a9fed0fd8fc8f9123219e80da8086886526c95b72"


@pytest.fixture(params=FIRST)
def first(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a store of format 1."""
    return Path(shutil.copytree(STORES / request.param, tmp_path / "store.zarr"))


def take_up(path: Path, **options: Any) -> StoreWriter:
    store = FeatureStore.open(path)
    return StoreWriter.create_or_resume(
        path, fingerprint=store.fingerprint, rows=store.rows, root=store.root, **options
    )


@pytest.mark.parametrize("name", FIRST)
def test_a_store_of_format_1_is_read(name: str) -> None:
    store = FeatureStore.open(STORES / name)
    features = store.read()
    np.testing.assert_array_equal(features.values, VALUES[READABLE])
    assert features.rows.column_names == ["id", "path", "label", "split"]
    assert store.unreadable == {5: "truncated"}
    assert (store.verify(), store.images(), store.feature_names) == ([], None, ("avg",))
    on_disk = store.on_disk()
    np.testing.assert_array_equal(on_disk.take(np.array([1, 6])), VALUES[READABLE][[1, 6]])
    assert store.fingerprint.digest() == DIGEST_OF_THE_FIRST  # runs refer to it


def test_a_store_of_format_2_is_read() -> None:
    store = FeatureStore.open(STORES / "version-2.zarr")
    assert store.feature_names == ("avg", "max", "avg@1", "max@1")
    assert (store.num_rows, store.unreadable, store.verify()) == (9, {5: "truncated"}, [])
    live = [row for row in range(11) if row not in (0, 1, 5)]
    for at, name in enumerate(store.feature_names):
        features = FeatureStore.open(STORES / "version-2.zarr", name).read()
        expected = np.array([[127, row, at, 1, 0, -127] for row in live]) / 127
        np.testing.assert_allclose(features.values, expected, rtol=1e-6)
    assert store.rows["id"].to_pylist() == [f"{row}.jpg" for row in range(2, 11)]
    images = store.images()
    assert images is not None
    np.testing.assert_array_equal(images[:, 0], live)


def test_an_unfinished_store_of_format_1_is_taken_up_in_its_own_form(first: Path) -> None:
    codecs = [type(codec).__name__ for codec in zarr.open_array(first / "features").metadata.codecs]
    lines = (first / "ledger.jsonl").read_text().splitlines(keepends=True)
    (first / "ledger.jsonl").write_text("".join(lines[:2]))
    shutil.rmtree(first / "features" / "c" / "2")
    with take_up(first) as writer:
        assert writer.pending == [2]
        writer.write(2, VALUES[8:], {})
    np.testing.assert_array_equal(FeatureStore.open(first).read().values, VALUES[READABLE])
    again = zarr.open_array(first / "features").metadata.codecs
    assert [type(codec).__name__ for codec in again] == codecs


def test_damage_of_a_store_of_format_1_is_found_and_mended(first: Path) -> None:
    file = first / "features" / "c" / "1" / "0"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreCorruptError, match="chunk 1 of"):
        FeatureStore.open(first).read()
    with take_up(first, repair=True) as writer:
        assert writer.pending == [1]
        writer.write(1, VALUES[4:8], {5: "truncated"})
    np.testing.assert_array_equal(FeatureStore.open(first).read().values, VALUES[READABLE])


def test_a_new_store_is_plain_and_any_row_of_its_files_stands_where_it_is_looked_for(
    example: Any,
) -> None:
    example.write()
    content = (example.path / "features" / "c" / "2" / "0").read_bytes()
    assert len(content) == 4 * 6 * 2
    np.testing.assert_array_equal(np.frombuffer(content, "<f2")[:12], example.values[8:].ravel())


def test_other_zarr_readers_see_the_values(example: Any) -> None:
    example.write()
    array: Any = zarr.open_array(example.path / "features", mode="r")
    np.testing.assert_array_equal(array[:], example.values)


def test_the_digest_of_a_fingerprint_is_what_it_was(example: Any) -> None:
    facts = FeatureStore.open(STORES / FIRST[0]).fingerprint.to_json()
    assert Fingerprint.from_json(facts).digest() == DIGEST_OF_THE_FIRST
