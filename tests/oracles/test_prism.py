"""PRISM on all rows against plain loops and against arithmetic by hand."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.measures import label_posterior
from pipeline.selection import prism
from pipeline.selection._state import State, drop_lowest

from . import prism as oracle
from .examples import at_angles, unit_rows

SEEDS = range(4)
near = pytest.approx
# Two wrong labels: row 2 looks like class 1, row 5 like class 0.
SIX_ROWS, SIX_LABELS = at_angles([0, 0, 90, 90, 90, 0]), torch.tensor([0, 0, 0, 1, 1, 1])


def start(rows: Tensor, labels: Tensor, num_classes: int, **options: float | str) -> State:
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


def test_six_rows_by_hand_in_the_published_form():
    """Raw means, scale 1. Row 0: the others of class 0 have cosines 1 and 0, average 1/2; class 1
    has 0, 0, 1, average 1/3. Row 2: 0 and 0; class 1 has 1, 1, 0, average 2/3."""
    state = start(SIX_ROWS, SIX_LABELS, 2, noise_rate=1 / 3, scale=1.0, passes=1, centres="raw")
    right, wrong = 1 / (1 + exp(1 / 3 - 1 / 2)), 1 / (1 + exp(2 / 3))
    assert state.scores.tolist() == near([right, right, wrong, right, right, wrong], abs=1e-12)


def test_six_rows_by_hand_in_two_passes():
    """From the second pass on centres are the kept rows' (1,0) and (0,1): a right row has cosines 1
    and 0, P = 1 / (1 + e^-2); a wrong row 0 and 1, P = 1 / (1 + e^2)."""
    state = start(SIX_ROWS, SIX_LABELS, 2, noise_rate=1 / 3, scale=2.0, passes=2)
    right, wrong = 1 / (1 + exp(-2)), 1 / (1 + exp(2))
    assert state.scores.tolist() == near([right, right, wrong, right, right, wrong], abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("passes", [1, 2, 3])
@pytest.mark.parametrize("centres", ["unit", "raw"])
@pytest.mark.parametrize(("noise_rate", "scale"), [(0.0, 16.0), (0.2, 16.0), (0.3, 1.0)])
def test_the_scores_equal_the_loops(seed, passes, noise_rate, scale, centres):
    """With raw centres the loops average the cosines to the rows of each class, one by one."""
    rows, labels = random_rows(seed)
    options = {"noise_rate": noise_rate, "scale": scale, "passes": passes, "centres": centres}
    state = start(rows, labels, 6, **options)
    given = np.asarray(rows), np.asarray(labels), 6, noise_rate, scale, passes
    scores, kept = oracle.full(*given, centres == "unit")
    np.testing.assert_allclose(state.scores, scores, rtol=0, atol=1e-10)
    assert state.weights.bool().tolist() == kept


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("centres", ["unit", "raw"])
@pytest.mark.parametrize(
    ("noise_rate", "dropped"), [(0.0, 0), (0.02, 0), (0.025, 1), (0.999, 39), (1.0, 40)]
)
def test_rates_that_drop_no_row_or_every_row_leave_the_scores_finite(
    noise_rate, dropped, passes, centres
):
    rows, labels = random_rows(0)
    state = start(rows, labels, 6, noise_rate=noise_rate, passes=passes, centres=centres)
    assert (state.weights == 0).sum() == dropped
    assert ((state.scores >= 0) & (state.scores <= 1)).all()
    refreshed = prism.refresh(state, rows, labels, 6, 1.0, passes=passes, centres=centres)
    assert (refreshed.weights == 0).sum() == dropped
    assert refreshed.scores.isfinite().all()


@pytest.mark.parametrize("num_classes", [1, 4])
def test_among_rows_of_one_class_no_label_is_doubted(num_classes):
    rows, _ = random_rows(0)
    state = start(rows, torch.full((40,), num_classes - 1), num_classes)
    assert state.noise_rate == 0
    assert state.weights.tolist() == [1] * 40
    assert state.scores.tolist() == near([1] * 40)


@pytest.mark.parametrize("centres", ["unit", "raw"])
def test_classes_without_rows_change_nothing(centres):
    """Labels 0, 1, 2, ... and 3, 8, 13, ... of 40 classes give the same scores."""
    rows, labels = random_rows(1)
    scores = start(rows, labels, 6, noise_rate=0.2, centres=centres).scores
    gaps = start(rows, 5 * labels + 3, 40, noise_rate=0.2, centres=centres).scores
    torch.testing.assert_close(gaps, scores)


@pytest.mark.parametrize("centres", ["unit", "raw"])
def test_the_order_of_the_rows_does_not_change_their_scores(centres):
    rows, labels = random_rows(2)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    whole = start(rows, labels, 6, centres=centres)
    moved = start(rows[order], labels[order], 6, centres=centres)
    torch.testing.assert_close(moved.scores, whole.scores[order])
    torch.testing.assert_close(moved.noise_rate, whole.noise_rate)


def test_identical_rows_are_finite_and_only_as_many_as_asked_for_are_dropped():
    rows, labels = at_angles([30] * 20), torch.arange(20) % 4
    state = start(rows, labels, 4, noise_rate=0.3)
    assert state.scores.tolist() == near([0.25] * 20)
    assert (state.weights == 0).sum() == 6


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


@pytest.mark.parametrize("centres", ["unit", "raw"])
def test_the_scores_do_not_depend_on_the_tiles(monkeypatch, centres):
    rows, labels = random_rows(0)
    whole = start(rows, labels, 6, noise_rate=0.2, centres=centres).scores
    monkeypatch.setattr(label_posterior, "_TILE", 7)
    tiled = start(rows, labels, 6, noise_rate=0.2, centres=centres).scores
    torch.testing.assert_close(tiled, whole)


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
