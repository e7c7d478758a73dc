"""Detection figures against their definitions, counted one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from pipeline.measures.detection import detection


def slow_auc(scores, is_wrong):
    """The share of pairs (right row, wrong row) in which the right one scores higher; ties half."""
    right, wrong = scores[~is_wrong], scores[is_wrong]
    points = [1.0 if r > w else 0.5 if r == w else 0.0 for r, w in product(right, wrong)]
    return sum(points) / len(points)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("levels", [2, 5, 10_000])
def test_auc_is_the_share_of_pairs_in_order_with_ties_as_half(seed, levels):
    generator = np.random.default_rng(seed)
    scores = (generator.integers(0, levels, size=80) / levels).astype(np.float32)
    is_wrong = generator.random(80) < 0.3
    found = detection(scores, scores < 0.2, is_wrong)
    assert found.auc == pytest.approx(slow_auc(scores, is_wrong), abs=1e-12)


@pytest.mark.parametrize(("scores", "auc"), [([0, 1], 1.0), ([1, 0], 0.0), ([1, 1], 0.5)])
def test_auc_is_1_for_the_right_order_and_half_for_none(scores, auc):
    assert detection(np.array(scores, float), np.zeros(2, bool), np.array([1, 0]) > 0).auc == auc


def test_precision_and_recall_count_the_flags():
    flagged = np.array([1, 1, 1, 0, 0, 0]) > 0
    is_wrong = np.array([1, 0, 0, 1, 0, 0]) > 0
    found = detection(np.arange(6.0), flagged, is_wrong)
    assert (found.precision, found.recall) == (1 / 3, 1 / 2)


def test_without_flags_or_wrong_rows_there_is_nothing_to_say():
    none, some = np.zeros(4, bool), np.array([1, 0, 0, 0]) > 0
    assert np.isnan(detection(np.arange(4.0), none, some).precision)
    assert detection(np.arange(4.0), none, some).recall == 0
    nothing_wrong = detection(np.arange(4.0), some, none)
    assert nothing_wrong.precision == 0
    assert np.isnan([nothing_wrong.recall, nothing_wrong.auc]).all()
    assert np.isnan(detection(np.arange(4.0), some, ~none).auc)
