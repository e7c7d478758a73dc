"""Validation: what is held out, with which labels, and which epoch it prefers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache import FeatureStore
from cache.errors import InputError
from pipeline.choices.settings import Settings
from pipeline.evaluate import evaluate_run
from pipeline.measures.metrics import evaluate
from pipeline.program import heads
from pipeline.train import train
from pipeline.training.protocol import split
from pipeline.training.validation import hold_out

FAST = {"loss": "contrastive", "dim": 8, "epochs": 4}


def roles_of(store: FeatureStore):
    return split(store.read().rows)


@pytest.mark.parametrize("fold", range(4))
def test_held_out_classes_are_new_and_the_folds_share_them_out(store: FeatureStore, fold: int):
    roles = roles_of(store)
    held = hold_out(roles, "classes", folds=4, fold=fold)
    left, new = (set(roles.given[rows].tolist()) for rows in (held.train.train, held.query))
    assert not left & new
    assert len(new) == 3
    assert held.gallery is None
    assert sorted([*held.train.train, *held.query]) == sorted(roles.train)


def test_every_row_is_held_out_in_one_fold_and_every_class_is_in_each(store: FeatureStore):
    roles = roles_of(store)
    seen = []
    for fold in range(4):
        held = hold_out(roles, "rows", folds=4, fold=fold)
        assert held.gallery is not None
        assert not set(held.query) & set(held.train.train)
        assert set(held.gallery) == set(held.train.train)
        counts = np.bincount(roles.given[held.query])
        assert counts.min() == counts.max() == 4
        seen += list(held.query)
    assert sorted(seen) == sorted(roles.train)


def test_the_val_split_searches_among_the_training_rows(make_store: Any, tmp_path: Path):
    labels = [str(row % 4) for row in range(48)]
    splits = (["train"] * 8 + ["val"] * 4 + ["test"] * 4) * 3
    roles = roles_of(make_store(tmp_path / "s.zarr", labels, splits=splits))
    held = hold_out(roles, "split", folds=5, fold=0)
    assert [splits[row] for row in held.query] == ["val"] * 12
    assert set(held.train.train) == set(roles.train) == set(held.gallery)


def test_a_store_without_val_rows_cannot_be_split_by_them(store: FeatureStore):
    with pytest.raises(InputError, match='no.*"val"|"val".*none'):
        hold_out(roles_of(store), "split", folds=5, fold=0)


def test_folds_that_leave_too_little_are_refused(make_store: Any, tmp_path: Path):
    labels = ["a", "b"] * 12
    roles = roles_of(make_store(tmp_path / "s.zarr", labels, splits=["train", "train", "test"] * 8))
    with pytest.raises(InputError, match="fold 0 of 2 leaves"):
        hold_out(roles, "classes", folds=2, fold=0)


@pytest.mark.parametrize("kind", ["classes", "rows"])
def test_the_selected_epoch_is_the_one_of_highest_map_at_r(
    store: FeatureStore, tmp_path: Path, kind: str
):
    run = train(store, Settings(**FAST, validation=kind), tmp_path / "run", device="cpu")
    found, history = run.record["validation"], run.record["history"]
    scores = history["validation_map@r"]
    assert history["validated_epoch"] == [1, 2, 3, 4]
    assert found["selected_epoch"] == 1 + int(np.argmax(scores))
    assert found["selected_map@r"] == max(scores)
    assert found["last_map@r"] == scores[-1]


def test_validation_measures_what_the_metrics_measure(store: FeatureStore, tmp_path: Path):
    settings = Settings(**FAST, validation="rows", folds=4)
    run = train(store, settings, tmp_path / "run", device="cpu")
    features, roles = store.read(), roles_of(store)
    held = hold_out(roles, "rows", folds=4, fold=0)
    weights = run.weights()
    values = (torch.from_numpy(features.values) - weights["mean"]) / weights["scale"]
    head = {"weight": weights["head.weight"], "bias": weights["head.bias"]}
    embedded, given = heads.embed(head, values), torch.from_numpy(roles.given)
    found = evaluate(
        embedded[held.query],
        given[held.query],
        embedded[held.gallery],
        given[held.gallery],
        recall_at=(1,),
    )
    assert run.record["validation"]["last_map@r"] == pytest.approx(found.map_at_r, abs=1e-6)


def test_noise_reaches_the_validation_labels_too(store: FeatureStore, tmp_path: Path):
    clean, noisy = (
        train(store, Settings(**FAST, validation="rows", noise=noise), tmp_path / name)
        for name, noise in (("clean", None), ("noisy", "symmetric:0.6"))
    )
    scores = [run.record["validation"]["last_map@r"] for run in (clean, noisy)]
    assert scores[1] < 0.6 * scores[0]
    assert "noise included" in noisy.record["validation"]["labels"]


def test_without_a_better_look_training_stops(store: FeatureStore, tmp_path: Path):
    settings = Settings(
        **FAST | {"epochs": 60, "lr": 1e-9}, validation="rows", patience=2, validate_every=3
    )
    run = train(store, settings, tmp_path / "run", device="cpu")
    assert run.record["history"]["validated_epoch"] == [3, 6, 9]
    assert len(run.record["history"]["loss"]) == 9


def test_validated_trainings_go_on_after_an_interruption(store: FeatureStore, tmp_path: Path):
    settings = Settings(**FAST, validation="classes", folds=4)

    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(store, settings, tmp_path / "a", progress=interrupt, snapshot_seconds=0)
    resumed, whole = (train(store, settings, tmp_path / name) for name in ("a", "b"))
    assert resumed.record["resumed_at_epoch"] == 3
    assert resumed.record["validation"] == whole.record["validation"]
    for name, tensor in whole.weights().items():
        assert torch.equal(tensor, resumed.weights()[name]), name


def test_evaluation_shows_the_last_and_the_selected_epoch(store: FeatureStore, tmp_path: Path):
    run = train(store, Settings(**FAST, validation="rows"), tmp_path / "run", device="cpu")
    rows = evaluate_run(run, store, device="cpu").rows
    epoch = run.record["validation"]["selected_epoch"]
    assert list(rows) == ["untrained", "run", f"run, epoch {epoch}"]


def test_seeds_of_noise_and_batches_can_be_set_apart(store: FeatureStore, tmp_path: Path):
    noisy = FAST | {"noise": "symmetric:0.4"}
    runs = {
        name: train(store, Settings(**noisy, **seeds), tmp_path / name)
        for name, seeds in {
            "all": {"seed": 5},
            "same": {"seed": 5, "noise_seed": 5, "sampling_seed": 5},
            "noise": {"seed": 5, "noise_seed": 6},
            "batches": {"seed": 5, "sampling_seed": 6},
        }.items()
    }
    labels = {name: run.labels()["label"].to_pylist() for name, run in runs.items()}
    heads_of = {name: run.weights()["head.weight"] for name, run in runs.items()}
    assert labels["all"] == labels["same"] == labels["batches"] != labels["noise"]
    assert torch.equal(heads_of["all"], heads_of["same"])
    for name in ("noise", "batches"):
        assert not torch.equal(heads_of["all"], heads_of[name])
    assert runs["noise"].record["noise"]["seed"] == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--set patience=3", "patience needs validation"),
        ("--validation rows --set folds=3 --set fold=3", "expected less than folds, 3"),
        ("--validation split", '"val"'),
        ("--validation nonsense", "--validation"),
    ],
)
def test_bad_validation_is_one_line(dml: Any, home: Path, options: str, message: str):
    answer = dml(f"train --loss prism --epochs 1 {options}")
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert answer.err.strip().count("\n") <= 1


@pytest.mark.parametrize(
    ("kind", "words"), [("rows", "held-out rows, fold 0 of 5"), ("classes", "held-out classes")]
)
def test_training_says_which_rows_validate_and_which_epoch_is_best(
    dml: Any, home: Path, kind: str, words: str
):
    shown = dml(f"train --loss contrastive --epochs 2 --dim 8 --validation {kind}").out
    assert f"validation on {words}" in shown
    assert "the best" in shown
