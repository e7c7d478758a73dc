"""Several pools, views and hashes of the images lie side by side in one store."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zarr

from cache import FeatureStore, InputError
from cache.errors import DamagedChunkError

NAMES = ("avg", "avg+max", "avg@1", "avg+max@1")


@pytest.fixture
def several(example: Any) -> Any:
    """The example with two pools, one view and hashes; one image is unreadable."""
    example.facts |= {"pool": "avg,avg+max", "views": 1, "augmentation": {"seed": 0}}
    with example.writer(images=True) as writer:
        for number in list(writer.pending):
            rows = writer.chunk(number)
            part = slice(rows.start, rows.stop)
            bad = {5: "gone"} if 5 in rows else {}
            writer.write(number, values()[part], bad, hashes()[part])
    return example


def values() -> Any:
    return np.random.default_rng(1).standard_normal((10, 4, 6)).astype("float16")


def hashes() -> Any:
    return np.random.default_rng(2).integers(0, 256, (10, 40), np.uint8)


@pytest.mark.parametrize(("at", "name"), list(enumerate(NAMES)))
def test_each_kind_of_features_is_read_by_its_name(several: Any, at: int, name: str) -> None:
    store = FeatureStore.open(several.path, name)
    assert (store.features, store.feature_names) == (name, NAMES)
    np.testing.assert_array_equal(store.read().values, np.delete(values()[:, at], 5, axis=0))


def test_the_first_kind_is_the_default(several: Any) -> None:
    assert FeatureStore.open(several.path).features == "avg"


def test_an_unknown_kind_is_refused_and_the_known_ones_are_listed(several: Any) -> None:
    with pytest.raises(InputError, match=r"no features 'max': choose from avg, avg\+max, avg@1"):
        FeatureStore.open(several.path, "max")


def test_the_hashes_of_readable_images_are_read(several: Any) -> None:
    found = FeatureStore.open(several.path).images()
    np.testing.assert_array_equal(found, np.delete(hashes(), 5, axis=0))


def test_a_store_without_hashes_says_so(example: Any) -> None:
    assert example.write().images() is None


def test_the_arrays_have_names_that_every_file_system_takes(several: Any) -> None:
    names = sorted(file.parent.name for file in several.path.glob("*/zarr.json"))
    assert names == [
        "features",
        "features-avg-and-max",
        "features-avg-and-max-view1",
        "features-avg-view1",
        "images",
    ]
    arrays: list[Any] = [zarr.open_array(several.path / name, mode="r") for name in names]
    assert [array.shape for array in arrays] == [(10, 6)] * 4 + [(10, 40)]


def test_damage_of_any_array_is_found_and_mended_as_a_whole(several: Any) -> None:
    (several.path / "features-avg-view1" / "c" / "2" / "0").unlink()
    store = FeatureStore.open(several.path)
    np.testing.assert_array_equal(store.read().values, np.delete(values()[:, 0], 5, axis=0))
    assert [number for number, _ in store.verify()] == [2]
    with several.writer(repair=True) as writer:
        assert writer.pending == [2]
        writer.write(2, values()[8:], {}, hashes()[8:])
    assert FeatureStore.open(several.path).verify() == []


def test_a_store_with_hashes_wants_hashes(several: Any, tmp_path: Any) -> None:
    several.path = tmp_path / "other.zarr"
    with several.writer(images=True) as writer:
        for images in (None, hashes()[:3]):
            with pytest.raises(InputError, match="hashes of images"):
                writer.write(0, values()[:4], {}, images)


def test_the_content_hash_knows_every_array(several: Any, tmp_path: Any) -> None:
    found = {FeatureStore.open(several.path).content_hash()}
    for change in range(5):
        several.path = tmp_path / f"{change}.zarr"
        with several.writer(images=True) as writer:
            for number in list(writer.pending):
                rows = writer.chunk(number)
                part, other = slice(rows.start, rows.stop), hashes()
                changed = values()
                if change < 4:
                    changed[9, change, 0] += 1
                else:
                    other[9, 0] ^= 1
                writer.write(number, changed[part], {}, other[part])
        found.add(FeatureStore.open(several.path).content_hash())
    assert len(found) == 6


# Means over a picture and its views


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_a_mean_over_views_is_that_of_what_is_read_of_each(example: Any, dtype: str) -> None:
    example.dtype, example.facts = dtype, {"pool": "avg,max", "views": 2}
    drawn = np.random.default_rng(1).standard_normal((10, 6, 6)).astype("float32")
    with example.writer() as writer:
        for number in list(writer.pending):
            rows = writer.chunk(number)
            writer.write(number, drawn[rows.start : rows.stop], {5: "gone"} if 5 in rows else {})
    store = FeatureStore.open(example.path, "max@mean")
    names = ("max", "max@1", "max@2")
    parts = [store.choose(name).read().values.astype("float32") for name in names]
    expected = np.zeros_like(parts[0])
    for row in range(9):
        for part in parts:
            expected[row] += part[row]
        expected[row] /= 3
    found = store.read().values
    np.testing.assert_array_equal(found, expected.astype(found.dtype))
    rows = np.array([0, 4, 8])
    np.testing.assert_array_equal(store.on_disk().take(rows), found[rows])


def test_damage_of_a_view_is_noticed_when_a_mean_is_read(several: Any) -> None:
    (several.path / "features-avg-view1" / "c" / "2" / "0").unlink()
    with pytest.raises(DamagedChunkError, match="chunk 2"):
        FeatureStore.open(several.path, "avg@mean").read()


def test_a_mean_needs_views_and_says_how_to_get_them(example: Any, several: Any) -> None:
    assert FeatureStore.open(several.path).describe()["features"][-1] == "avg+max@mean"
    with pytest.raises(InputError, match=r"choose from .*, avg@mean, avg\+max@mean"):
        FeatureStore.open(several.path, "max@mean")
    example.path, example.facts = several.path.with_name("plain.zarr"), {}
    with pytest.raises(InputError, match=r"no avg@mean: take avg, or extract again with --views 2"):
        example.write().choose("avg@mean")
