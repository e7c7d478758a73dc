"""Runs on means over a picture and its views, and on one of them drawn for each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dml as api
from cache import FeatureStore, InputError, StoreWriter
from pipeline.choices.grid import canonical
from pipeline.choices.settings import Settings
from pipeline.evaluate import evaluate_run
from pipeline.probe import probe
from pipeline.program.disturbance import begin, pictured
from pipeline.runs.record import Run
from pipeline.train import train

from ..ablations import run as ablation

PLAIN = Settings(loss="proxy-anchor", epochs=2, dim=8)
MEAN, RANDOM = PLAIN.replaced(features="avg@mean"), PLAIN.replaced(views="random")
TINY = 20_000  # bytes, fewer than the store has


def written(store: FeatureStore, path: Path, *pictures: Any) -> FeatureStore:
    """Write a store of the same rows with these features (N, F) of each picture."""
    views = len(pictures) - 1
    facts = replace(store.fingerprint, views=views, augmentation={"seed": 0} if views else {})
    with StoreWriter.create_or_resume(
        path, fingerprint=facts, rows=store.rows, root="photos", chunk_rows=100
    ) as writer:
        for number in list(writer.pending):
            rows = writer.chunk(number)
            writer.write(number, np.stack(pictures, axis=1)[rows.start : rows.stop], {})
    return FeatureStore.open(path)


@pytest.fixture(scope="module")
def pictures(store: FeatureStore) -> list[Any]:
    """The features of `store`, and two disturbed forms of them."""
    plain, generator = store.read().values, np.random.default_rng(4)
    return [plain, *(plain + generator.standard_normal((2, *plain.shape)).astype("float32"))]


@pytest.fixture(scope="module")
def viewed(
    store: FeatureStore, pictures: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> FeatureStore:
    return written(store, tmp_path_factory.mktemp("viewed") / "v.zarr", *pictures)


def same_weights(ours: Run, expected: Run) -> bool:
    own, others = ours.weights(), expected.weights()
    return own.keys() == others.keys() and all(torch.equal(own[each], others[each]) for each in own)


def test_a_run_on_means_is_that_of_a_store_of_means_wherever_the_rows_are(
    store: FeatureStore, viewed: FeatureStore, pictures: list[Any], tmp_path: Path
) -> None:
    mean = (pictures[0] + pictures[1] + pictures[2]) / np.float32(3)
    expected = train(written(store, tmp_path / "m.zarr", mean), PLAIN, tmp_path / "expected")
    resident = train(viewed, MEAN, tmp_path / "resident")
    streamed = train(viewed, MEAN, tmp_path / "streamed", memory=TINY)
    assert streamed.record["features"]["held"] == "streamed from disk"
    assert same_weights(resident, expected)
    assert same_weights(streamed, expected)


def test_views_that_are_the_picture_itself_change_nothing(
    store: FeatureStore, viewed: FeatureStore, pictures: list[Any], tmp_path: Path
) -> None:
    equal = written(store, tmp_path / "equal.zarr", *pictures[:1] * 3)
    plain = train(store, PLAIN, tmp_path / "plain")
    assert same_weights(train(equal, RANDOM, tmp_path / "equal"), plain)
    assert not same_weights(train(viewed, RANDOM, tmp_path / "random"), plain)


def test_an_interrupted_run_on_random_views_goes_on_as_if_nothing_had_been(
    viewed: FeatureStore, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(viewed, RANDOM, tmp_path / "run", snapshot_seconds=0, progress=interrupt)
    resumed = train(viewed, RANDOM, tmp_path / "run")
    assert resumed.record["resumed_at_epoch"] == 1
    assert same_weights(resumed, train(viewed, RANDOM, tmp_path / "whole"))


@pytest.mark.parametrize("way", ["alone", "together"])
def test_an_ablation_on_random_views_gives_what_a_run_gives(
    viewed: FeatureStore, tmp_path: Path, way: str
) -> None:
    lists = {"loss": "proxy-anchor", "noise": "0", "changes": ["views=random"], "seeds": 1}
    found = ablation(viewed, tmp_path / "cells", common=PLAIN, more={"way": way}, **lists)
    expected = evaluate_run(train(viewed, RANDOM, tmp_path / "run"), viewed).rows["run"]
    assert found.rows[-1]["map@r"] == pytest.approx(expected.map_at_r, abs=1e-4)


def test_the_probe_repeats_a_training_on_random_views(viewed: FeatureStore) -> None:
    settings = RANDOM.replaced(noise="symmetric:0.3")
    ours, plain = (
        probe(viewed, each, points=2, batches=1)
        for each in (settings, settings.replaced(views=None))
    )
    assert ours != plain


def test_each_picture_has_its_share_and_hangs_on_run_step_and_row() -> None:
    """Standard error of a share over 3,000 rows: 0.009."""
    rows, count = torch.arange(3000), 3000

    def drawn(seed: int = 1, step: float = 5.0) -> torch.Tensor:
        strength = begin(torch.ones(2, 2), seed, dropout=0.0, noise=0.0, pictures=3)
        return pictured(rows, strength, torch.tensor(step), count)

    places = drawn()
    assert torch.equal(places % count, rows)
    shares = torch.bincount(places // count, minlength=3) / count
    assert (shares - 1 / 3).abs().max() < 0.03
    for other in (drawn(seed=2), drawn(step=6.0)):
        assert abs(float((places == other).float().mean()) - 1 / 3) < 0.03
    nothing = begin(torch.ones(2, 2), 1, dropout=0.0, noise=0.0)
    assert pictured(rows, nothing, torch.tensor(5.0), count) is rows


def test_what_cannot_be_is_said_in_one_line(
    store: FeatureStore, viewed: FeatureStore, tmp_path: Path, dml: Callable[..., Any]
) -> None:
    loss = "train --loss proxy-anchor --views random"
    assert (
        "has none: leave it out, or extract again" in dml(f"{loss} --store {store.path}").refusal()
    )
    assert (
        "has no views of its pictures, so there is no avg@mean"
        in dml(f"train --store {store.path} --features avg@mean").refusal()
    )
    assert (
        "views does nothing with --loss auto"
        in dml(f"train --store {viewed.path} --views random").refusal()
    )
    assert (
        "features stay on the disk: give more --memory"
        in dml(f"{loss} --store {viewed.path} --memory 20KB").refusal()
    )


def test_python_takes_views_and_cells_of_versions_without_them_are_found(
    viewed: FeatureStore, tmp_path: Path
) -> None:
    ours = api.train(
        api.open_store(viewed.path, "avg@mean"),
        loss="proxy-anchor",
        views="random",
        epochs=1,
        dim=8,
        path=tmp_path / "run",
    )
    assert (ours.settings.features, ours.settings.views) == ("avg@mean", "random")
    assert ("views" in canonical(PLAIN), "views" in canonical(RANDOM)) == (False, True)
    with pytest.raises(InputError, match="views is 'all': expected 'random'"):
        PLAIN.replaced(views="all").check()
