"""The rules of cross-fitting: which row is in which fold, and which model has seen it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.selection import _confidence_mlp as mlp
from pipeline.selection import confidence

SETTINGS = mlp.Settings(folds=3, epochs=2, hidden=8, dropout=0.5, lr=1e-2, batch_size=16)


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
    classes, values, given = mlp.out_of_fold(models, features, fold, 3, labels)
    for row in range(len(labels)):
        k = int(fold[row])
        hidden = (features[row] @ models["w1"][k] + models["b1"][k]).clamp_min(0)
        expected = torch.sigmoid(hidden @ models["w2"][k] + models["b2"][k])  # (C,)
        torch.testing.assert_close(values[row], expected.sort(descending=True).values[:3])
        torch.testing.assert_close(expected[classes[row]], values[row])
        torch.testing.assert_close(given[row], expected[labels[row]])


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
