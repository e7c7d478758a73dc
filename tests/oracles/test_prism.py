"""PRISM on all rows against plain loops and against arithmetic by hand."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.selection import _posterior, prism
from pipeline.selection._state import State, drop_lowest

from . import prism as oracle
from .examples import at_angles, unit_rows

SEEDS = range(4)
near = pytest.approx
# Two wrong labels: row 2 looks like class 1, row 5 like class 0.
SIX_ROWS, SIX_LABELS = at_angles([0, 0, 90, 90, 90, 0]), torch.tensor([0, 0, 0, 1, 1, 1])


def start(rows: Tensor, labels: Tensor, num_classes: int, **options: float) -> State:
    return prism.start(rows, labels, num_classes, torch.Generator(), **options)


def random_rows(seed: int, num_classes: int = 6) -> tuple[Tensor, Tensor]:
    """40 rows, classes of uneven size: class 4 has one row, class 5 none."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes - 2, (40,), generator=generator)
    labels[7] = num_classes - 2
    return unit_rows(40, 5, generator), labels


def test_six_rows_by_hand_in_one_pass():
    """Scale 2. Row 0 without itself: centre 0 = (1,0) + (0,1) -> cosine 0.7071; centre 1 =
    (0,1) + (0,1) + (1,0) = (1,2) / sqrt 5 -> 0.4472. P = e^1.4142 / (e^1.4142 + e^0.8944).

    Row 2 without itself: centre 0 = (1,0) -> 0; centre 1 -> 2 / sqrt 5 = 0.8944.
    P = 1 / (1 + e^1.7889). A third dropped: the two wrong rows.
    """
    state = start(SIX_ROWS, SIX_LABELS, 2, noise_rate=1 / 3, scale=2.0, passes=1)
    right = 1 / (1 + exp(2 / 5**0.5 - 2**0.5))
    wrong = 1 / (1 + exp(4 / 5**0.5))
    assert state.scores.tolist() == near([right, right, wrong, right, right, wrong], abs=1e-12)
    assert state.weights.tolist() == [1, 1, 0, 1, 1, 0]


def test_six_rows_by_hand_in_two_passes():
    """From the second pass on centres are the kept rows' (1,0) and (0,1): a right row has cosines 1
    and 0, P = 1 / (1 + e^-2); a wrong row 0 and 1, P = 1 / (1 + e^2)."""
    state = start(SIX_ROWS, SIX_LABELS, 2, noise_rate=1 / 3, scale=2.0, passes=2)
    right, wrong = 1 / (1 + exp(-2)), 1 / (1 + exp(2))
    assert state.scores.tolist() == near([right, right, wrong, right, right, wrong], abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("passes", [1, 2, 3])
@pytest.mark.parametrize(("noise_rate", "scale"), [(0.0, 16.0), (0.2, 16.0), (0.3, 1.0)])
def test_the_scores_equal_the_loops(seed, passes, noise_rate, scale):
    rows, labels = random_rows(seed)
    state = start(rows, labels, 6, noise_rate=noise_rate, scale=scale, passes=passes)
    scores, kept = oracle.full(np.asarray(rows), np.asarray(labels), 6, noise_rate, scale, passes)
    np.testing.assert_allclose(state.scores, scores, rtol=0, atol=1e-10)
    assert state.weights.bool().tolist() == kept


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_a_class_that_was_dropped_as_a_whole_does_not_come_back(passes):
    """Class 2 lies inside class 0 and one row of class 1 between the two: the first pass drops
    these three. Then class 2 has no centre: its rows keep their scores and stay dropped."""
    rows = at_angles([0, 3, 6, 9, 90, 93, 96, 99, 2, 7, 50])
    labels = torch.tensor([0] * 4 + [1] * 4 + [2] * 2 + [1])
    state = start(rows, labels, 3, noise_rate=0.3, passes=passes)
    scores, kept = oracle.full(np.asarray(rows), np.asarray(labels), 3, 0.3, 16, passes)
    assert kept == [True] * 8 + [False] * 3
    assert state.weights.bool().tolist() == kept
    np.testing.assert_allclose(state.scores, scores, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("rows_per_class", "noise_rate"), [(2, 0.2), (4, 0.5)])
def test_a_second_pass_does_not_harm_small_classes(rows_per_class, noise_rate):
    """The share of right rows among the kept, over 100 Gaussian classes."""
    generator = torch.Generator().manual_seed(0)
    true = torch.arange(100 * rows_per_class) % 100
    features = torch.randn(100, 32, generator=generator)[true]
    features = features + 0.6 * torch.randn(len(true), 32, generator=generator)
    is_flipped = torch.rand(len(true), generator=generator) < noise_rate
    other = (true + torch.randint(1, 100, (len(true),), generator=generator)) % 100
    labels = torch.where(is_flipped, other, true)
    once, twice = (
        start(features, labels, 100, noise_rate=noise_rate, passes=passes) for passes in (1, 2)
    )
    purity = [(~is_flipped[state.weights > 0]).double().mean() for state in (once, twice)]
    assert purity[1] > purity[0] - 0.02


def test_the_scores_do_not_depend_on_the_tiles(monkeypatch):
    rows, labels = random_rows(0)
    whole = start(rows, labels, 6, noise_rate=0.2).scores
    monkeypatch.setattr(_posterior, "_TILE", 7)
    torch.testing.assert_close(start(rows, labels, 6, noise_rate=0.2).scores, whole)


def test_features_of_any_length_are_scored_by_direction():
    rows, labels = random_rows(0)
    lengths = torch.linspace(0.5, 9, 40, dtype=torch.float64)[:, None]
    whole = start(rows, labels, 6, noise_rate=0.2).scores
    torch.testing.assert_close(start(lengths * rows, labels, 6, noise_rate=0.2).scores, whole)


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_refresh_blends_the_logarithms_of_both_spaces(progress):
    """log P = (1 - h) log P_features + h log P_head, h = 0.5 * progress."""
    features, labels = random_rows(0)
    embeddings, _ = random_rows(9)
    state = start(features, labels, 6, noise_rate=0.2)
    refreshed = prism.refresh(state, embeddings, labels, 6, progress)
    share = 0.5 * progress
    ours = oracle.full(np.asarray(features), np.asarray(labels), 6, 0.2, 16, 2)[0]
    head = oracle.full(np.asarray(embeddings), np.asarray(labels), 6, 0.2, 16, 2)[0]
    blend = [exp((1 - share) * log(p) + share * log(q)) for p, q in zip(ours, head, strict=True)]
    np.testing.assert_allclose(refreshed.scores, blend, rtol=0, atol=1e-10)
    assert refreshed.weights.bool().tolist() == oracle.keep_highest(blend, 0.2)


@pytest.mark.parametrize("noise_rate", [0.0, 0.01, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("rows", [1, 10, 57])
def test_exactly_int_of_rate_times_rows_are_dropped_also_among_equal_scores(noise_rate, rows):
    scores = torch.tensor([0.5] * rows)
    kept = drop_lowest(scores, torch.tensor(noise_rate))
    assert (kept == 0).sum() == oracle.num_dropped(noise_rate, rows)
    assert kept.bool().tolist() == oracle.keep_highest(scores.tolist(), noise_rate)


@pytest.mark.parametrize("noise_rate", [0.0, 0.2, 0.5])
def test_the_noise_rate_is_estimated_where_it_is_not_given(noise_rate):
    """Ten Gaussian classes, labels flipped to any other class: the estimate is within 3 points."""
    generator = torch.Generator().manual_seed(0)
    true = torch.arange(1000) % 10
    centres = torch.randn(10, 24, generator=generator)
    features = centres[true] + 0.6 * torch.randn(1000, 24, generator=generator)
    is_flipped = torch.rand(1000, generator=generator) < noise_rate
    other = (true + torch.randint(1, 10, (1000,), generator=generator)) % 10
    state = start(features, torch.where(is_flipped, other, true), 10)
    realised = is_flipped.double().mean().item()
    assert state.noise_rate.item() == near(realised, abs=0.03)
