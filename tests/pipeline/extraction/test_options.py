"""The options of `dml extract` that decide pixels: each is a fact of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.store import FeatureStore


@pytest.fixture
def home(pictures: Path, flat_backbone: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(pictures.parent)
    return pictures.parent


def test_views_are_stored_beside_the_plain_features(home: Path, dml: Any) -> None:
    assert dml("extract pictures --store plain.zarr").code == 0
    assert dml("extract pictures --store s.zarr --views 2 --view-seed 7").code == 0
    store = FeatureStore.open(home / "s.zarr")
    assert store.feature_names == ("avg", "avg@1", "avg@2")
    assert store.fingerprint.augmentation["seed"] == 7
    plain = FeatureStore.open(home / "plain.zarr").read().values
    assert np.array_equal(store.read().values, plain)
    first = FeatureStore.open(home / "s.zarr", features="avg@1").read().values
    assert not np.array_equal(first, plain)
    assert store.images().any(axis=1).all()


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("--views 1", "views"),
        ("--exif rotate", "transform"),
        ("--truncated use", "transform"),
        ("--max-pixels 1000", "transform"),
    ],
)
def test_a_store_made_with_another_way_is_refused(
    home: Path, dml: Any, words: str, field: str
) -> None:
    assert dml("extract pictures --store s.zarr").code == 0
    answer = dml(f"extract pictures --store s.zarr {words}")
    assert answer.code == 2
    assert field in answer.err.splitlines()[-1]


def test_a_store_of_other_views_is_refused(home: Path, dml: Any) -> None:
    assert dml("extract pictures --store s.zarr --views 1").code == 0
    for words in ("--view-seed 1", "--view-scale 0.5 1"):
        answer = dml(f"extract pictures --store s.zarr --views 1 {words}")
        assert answer.code == 2
        assert "augmentation" in answer.err.splitlines()[-1]


def test_an_extraction_that_stopped_goes_on_when_such_images_may_be_left_out(
    home: Path, dml: Any
) -> None:
    bad = home / "pictures" / "dog" / "1.png"
    bad.write_bytes(bad.read_bytes()[:-30])
    answer = dml("extract pictures --store s.zarr --unreadable stop")
    assert answer.code == 2
    assert "dog/1.png cannot be read" in answer.err.splitlines()[-1]
    assert dml("extract pictures --store s.zarr").code == 0
    assert len(FeatureStore.open(home / "s.zarr").unreadable) == 1
