"""The rules of cross-fitting: which row is in which fold, and which model has seen it."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from pipeline.selection import _confidence_mlp as mlp
from pipeline.selection import confidence

from .examples import noisy_classes

SETTINGS = mlp.Settings(folds=3, epochs=2, depth=1, hidden=8, dropout=0.5, lr=1e-2, batch_size=16)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_rows(seed: int, rows: int = 61) -> tuple[Tensor, Tensor]:
    """Features (N, 6) float32 and labels of uneven classes 0..6."""
    features = torch.randn(rows, 6, generator=generator(seed))
    labels = (torch.rand(rows, generator=generator(seed + 1)) ** 2 * 7).long()
    return features, labels


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("folds", [2, 3, 5])
def test_each_class_is_dealt_evenly_over_the_folds(seed, folds):
    """Fold sizes differ by at most one, per class and in all: two rows of a class are apart."""
    features, labels = random_rows(seed)
    fold = mlp.assign_folds(features, labels, folds, generator())
    for rows in [torch.ones_like(labels) > 0, *(labels == k for k in labels.unique())]:
        sizes = torch.bincount(fold[rows], minlength=folds)
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize(("rows", "dim"), [(5, 3), (61, 6), (101, 64), (257, 100)])
def test_exact_copies_share_the_fold_of_the_first_wherever_they_stand(rows, dim):
    features = torch.randn(rows, dim, generator=generator(rows))
    labels = torch.arange(rows) % 4
    features[rows - 1] = features[rows // 2] = features[0]
    fold = mlp.assign_folds(features, labels, 3, generator(1))
    assert fold[rows - 1] == fold[rows // 2] == fold[0]


def test_folds_are_those_of_their_generator():
    features, labels = random_rows(0)
    first = mlp.assign_folds(features, labels, 5, generator(1))
    assert torch.equal(first, mlp.assign_folds(features, labels, 5, generator(1)))
    assert not torch.equal(first, mlp.assign_folds(features, labels, 5, generator(2)))


def test_the_batches_of_a_fold_hold_every_row_of_the_others_and_none_of_its_own():
    features, labels = random_rows(0)
    fold = mlp.assign_folds(features, labels, 3, generator())
    batches = mlp._batches(fold, SETTINGS, generator())  # (steps, K, B)
    for k in range(3):
        seen = batches[:, k].flatten().unique()
        assert torch.equal(seen, (fold != k).nonzero()[:, 0])


def test_the_labels_of_a_fold_do_not_reach_the_model_that_scores_it():
    """Changing the labels of fold 0 changes the other models, not model 0."""
    features, labels = random_rows(0)
    fold = mlp.assign_folds(features, labels, 3, generator())
    changed = torch.where(fold == 0, (labels + 1) % 7, labels)
    before = mlp.train(features, labels, fold, 7, SETTINGS, generator())
    after = mlp.train(features, changed, fold, 7, SETTINGS, generator())
    for name in before:
        torch.testing.assert_close(before[name][0], after[name][0])
        assert not torch.allclose(before["b2"][1:], after["b2"][1:])


def test_each_row_is_scored_by_the_model_of_its_own_fold(monkeypatch):
    features, labels = random_rows(0)
    fold = mlp.assign_folds(features, labels, 3, generator())
    models = mlp.train(features, labels, fold, 7, SETTINGS, generator())
    monkeypatch.setattr(mlp, "_TILE", 5)
    seen = []
    for rows, logits in mlp.out_of_fold(models, features, fold):
        seen += rows.tolist()
        for row, found in zip(rows.tolist(), logits, strict=True):
            k = int(fold[row])
            hidden = (features[row] @ models["w1"][k] + models["b1"][k]).clamp_min(0)
            torch.testing.assert_close(found, hidden @ models["w2"][k] + models["b2"][k])  # (C,)
    assert sorted(seen) == list(range(len(labels)))


def test_training_stops_early_and_returns_the_models_of_the_best_epoch():
    """Labels without any relation to the features: every epoch makes the held-out loss worse."""
    features, labels = random_rows(0)
    fold = mlp.assign_folds(features, labels, 3, generator())
    long = dataclasses.replace(SETTINGS, epochs=60, lr=0.05)
    best = mlp.train(features, labels, fold, 7, long, generator())
    again = mlp.train(features, labels, fold, 7, dataclasses.replace(long, epochs=20), generator())
    for name in best:
        assert torch.equal(best[name], again[name])


def test_a_row_alone_in_its_class_keeps_its_label_and_belongs_to_no_other():
    features, labels = random_rows(0)
    labels[11] = 7
    state = confidence.start(features, labels, 8, generator(), folds=3, epochs=1)
    assert state.weights[11] == state.scores[11] == 1
    assert not state.extras["values"][11].any()


def test_a_class_of_copies_alone_keeps_its_label_like_a_row_alone():
    """Both copies share a fold, so no model that scores them has seen their class."""
    features, labels = random_rows(0)
    labels[[11, 30]] = 7
    features[30] = features[11]
    state = confidence.start(features, labels, 8, generator(), folds=3, epochs=1)
    assert state.weights[[11, 30]].tolist() == [1, 1]


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_module_of_any_depth_is_the_layers_one_after_the_other(depth):
    """Output biases start at the odds of one class in 7; rectifiers stand between the layers."""
    features, _ = random_rows(0)
    settings = dataclasses.replace(SETTINGS, depth=depth)
    models = mlp._start(features, 7, settings, generator())
    assert list(models) == [f"{kind}{layer}" for layer in range(1, depth + 2) for kind in "wb"]
    assert models[f"b{depth + 1}"].tolist() == [[pytest.approx(-math.log(6))] * 7] * 3
    values = features.expand(3, -1, -1)
    for layer in range(1, depth + 1):
        values = (values @ models[f"w{layer}"] + models[f"b{layer}"][:, None]).clamp_min(0)
    expected = values @ models[f"w{depth + 1}"] + models[f"b{depth + 1}"][:, None]
    found = mlp.forward(models, features.expand(3, -1, -1))
    torch.testing.assert_close(found, expected)


def test_dropout_masks_every_hidden_layer():
    features, _ = random_rows(0)
    models = mlp._start(features, 7, dataclasses.replace(SETTINGS, depth=2), generator())
    rows = features.expand(3, -1, -1)
    ones, nothing = torch.ones(3, 61, 8), torch.zeros(3, 61, 8)
    torch.testing.assert_close(mlp.forward(models, rows, [ones, ones]), mlp.forward(models, rows))
    only_bias = models["b3"][:, None].expand(3, 61, 7)
    assert torch.equal(mlp.forward(models, rows, [ones, nothing]), only_bias)


@pytest.mark.parametrize("options", [{"depth": 0}, {"depth": 2}, {"dropout": 0.0}])
def test_the_selection_takes_modules_of_other_shapes(options):
    features, labels, is_wrong = noisy_classes(0, 0.2, rows=300)
    state = confidence.start(
        features, labels, 8, generator(), hidden=32, lr=1e-2, batch_size=32, **options
    )
    assert auc(state.scores, is_wrong) > 0.99


def auc(scores: Tensor, is_wrong: Tensor) -> float:
    """The share of (right, wrong) pairs in which the right row has the higher score."""
    difference = scores[~is_wrong][:, None] - scores[is_wrong][None, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).double().mean())


def test_confidences_out_of_fold_see_wrong_labels_where_a_module_that_knows_them_does_not(
    monkeypatch,
):
    """Trained for long, without early stopping, on 30 % wrong labels: a model has learned by heart
    the labels of the other folds, wrong ones with confidence 0.97 too."""
    features, labels, is_wrong = noisy_classes(1, 0.3, rows=300)
    settings = mlp.Settings(3, epochs=60, depth=1, hidden=64, dropout=0.0, lr=1e-2, batch_size=32)
    monkeypatch.setattr(mlp, "_PATIENCE", 60)
    monkeypatch.setattr(mlp, "_held_out_loss", lambda *given: next(falling))
    falling = iter(range(0, -60, -1))
    fold = mlp.assign_folds(features, labels, 3, generator())
    models = mlp.train(features, labels, fold, 8, settings, generator())
    scores = []
    for shift in (0, 1):  # by the model that has not seen the row, and by one that has
        own = torch.zeros(len(labels))
        for rows, logits in mlp.out_of_fold(models, features, (fold + shift) % 3):
            own[rows] = logits.sigmoid().gather(1, labels[rows][:, None])[:, 0]
        scores.append(own)
    out_of_fold, in_sample = scores
    assert auc(in_sample, is_wrong) < 0.85 < 0.95 < auc(out_of_fold, is_wrong)
    assert out_of_fold[is_wrong].mean() < 0.1 < 0.9 < in_sample[is_wrong].mean()
