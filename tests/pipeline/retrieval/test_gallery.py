"""Embedding a gallery in blocks, and learning a threshold while it passes by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache.errors import InputError
from cache.store import FeatureStore
from pipeline.choices.settings import Settings
from pipeline.evaluate import embed
from pipeline.retrieval import threshold
from pipeline.retrieval.gallery import gallery_of
from pipeline.retrieval.space import Space, space_of
from pipeline.retrieval.threshold import Calibrating, Calibration
from pipeline.runs.record import Run
from pipeline.search import search
from pipeline.train import train


@pytest.fixture(scope="module")
def run(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without validation rows."""
    path = tmp_path_factory.mktemp("runs") / "run"
    return train(store, Settings(loss="proxy-anchor", dim=8, epochs=2), path)


def calibrated(space: Space, splits: tuple[str, ...] | None = None) -> Calibration | None:
    gallery = gallery_of(space, splits)
    known = Calibrating(gallery)
    for rows, embeddings in gallery.blocks():
        known.add(rows, embeddings)
    return known.result()


@pytest.mark.parametrize("splits", [None, ("test",)])
@pytest.mark.parametrize("block", [1, 33, 1000])
def test_blocks_are_the_embeddings_of_all_rows_in_order(
    store: FeatureStore, run: Run, monkeypatch: pytest.MonkeyPatch, block: int, splits: Any
) -> None:
    monkeypatch.setattr("pipeline.retrieval.gallery._BLOCK", block)
    told: list[tuple[int, int]] = []
    gallery = gallery_of(space_of(run, store), splits)
    parts = list(gallery.blocks(lambda done, total: told.append((done, total))))
    rows = np.concatenate([part for part, _ in parts])
    count = 288 if splits is None else 96
    assert rows.tolist() == list(range(count))
    assert max(len(part) for part, _ in parts) <= block
    truth = embed(run, torch.from_numpy(store.read().values))[288 - count :]
    assert np.concatenate([each for _, each in parts]) == pytest.approx(truth.numpy(), abs=1e-6)
    assert told[-1] == (count, count)
    assert gallery.take(np.array([0, 5])) == pytest.approx(truth[[0, 5]].numpy(), abs=1e-6)


def test_training_rows_calibrate_each_without_itself(store: FeatureStore, run: Run) -> None:
    known = calibrated(space_of(run, store))
    assert known is not None
    embeddings = embed(run, torch.from_numpy(store.read().values)).double()
    cosines = embeddings @ embeddings.T
    cosines.fill_diagonal_(-1)
    best = sorted(cosines[:192].max(dim=1).values.tolist())
    assert (known.rows, known.num_images) == ("train", 192)
    assert known.quantiles[0] == pytest.approx(best[0], abs=2e-6)
    assert known.quantiles[50] == pytest.approx(best[95], abs=2e-6)
    assert known.quantiles[100] == pytest.approx(best[-1], abs=2e-6)


@pytest.mark.parametrize("validation", ["rows", "classes"])
def test_rows_held_out_for_validation_calibrate_in_the_place_of_training_rows(
    store: FeatureStore, tmp_path: Path, validation: str
) -> None:
    settings = Settings(loss="proxy-anchor", dim=8, epochs=2, validation=validation)
    space = space_of(train(store, settings, tmp_path / "run"), store)
    known = calibrated(space)
    assert known is not None
    trained = set(space.run.labels()["id"].to_pylist()) if space.run else set()
    ids = [each for each in store.rows["id"].to_pylist()[:192] if each not in trained]
    told = search(space, ids=ids, top=288).answers
    best = sorted(
        next(
            hit.cosine
            for hit in each.hits
            if hit.id != each.query.id and (validation == "classes" or hit.id not in ids)
        )
        for each in told
    )
    assert (known.rows, known.num_images) == ("held out", len(ids))
    assert known.quantiles[0] == pytest.approx(best[0], abs=2e-6)
    assert known.quantiles[100] == pytest.approx(best[-1], abs=2e-6)


@pytest.mark.parametrize("share", [0.5, 0.77, 0.95, 1.0, 0.001])
def test_at_least_the_stated_share_passes_the_threshold(share: float) -> None:
    cosines = np.random.default_rng(0).uniform(0, 1, 137)
    quantiles = np.quantile(cosines, np.arange(101) / 100, method="lower")
    limit = Calibration("train", 137, tuple(quantiles.tolist())).threshold(share)
    passing = (cosines >= limit).mean()
    assert share <= passing <= share + 0.03


def test_untrained_features_calibrate_on_the_gallery(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threshold, "_SAMPLED", 30)
    known = calibrated(space_of(None, store), ("test",))
    assert known is not None
    assert (known.rows, known.num_images) == ("gallery", 30)


def test_only_images_whose_class_can_be_found_calibrate(make_store: Any, tmp_path: Path) -> None:
    labels = ["a", "a", "b", "c", "c"]
    space = space_of(None, make_store(tmp_path / "s.zarr", labels=labels, splits=None))
    known = calibrated(space)
    assert known is not None
    assert known.num_images == 4
    lone = space_of(None, make_store(tmp_path / "t.zarr", labels=["a", "b"], splits=None))
    assert calibrated(lone) is None
    with pytest.raises(InputError, match="--threshold auto learns from images whose class"):
        search(lone, ids=["0000.jpg"], known_share=0.9)


def test_a_search_that_asks_for_more_than_there_is_gives_all(
    make_store: Any, tmp_path: Path
) -> None:
    space = space_of(None, make_store(tmp_path / "s.zarr", labels=["a"] * 3, splits=None))
    (answer,) = search(space, ids=["0001.jpg"], top=9, exclude_self=True).answers
    assert [hit.id for hit in answer.hits] != []
    assert {hit.id for hit in answer.hits} == {"0000.jpg", "0002.jpg"}
    (alone,) = search(space, ids=["0001.jpg"], top=9, threshold=1.0, exclude_self=True).answers
    assert (alone.label, alone.share) == (None, 0.0)
