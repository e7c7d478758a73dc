"""Triplet, lifted structure, N-pair and margin against plain loops and against sums by hand."""

from __future__ import annotations

from collections import Counter
from math import cos, exp, log, radians

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.losses import _pairs, lifted_structure, margin, n_pair, triplet
from pipeline.program.batch import Batch

from . import baselines_pairs as loops
from .examples import batch_at, plain, random_batch

near = pytest.approx
WEIGHTS = ("ones", "binary", "fractional")
ROOT_2, ROOT_3 = 2**0.5, 3**0.5
NEAR = 2 - ROOT_3  # squared distance at 30 degrees


def every_random_batch(test):
    """Runs a test on 12 random batches in few and in many dimensions."""
    test = pytest.mark.parametrize("weights", WEIGHTS)(test)
    return pytest.mark.parametrize(("seed", "dim"), [(0, 3), (1, 3), (2, 8), (3, 8)])(test)


def draw(seed: int, dim: int, weights: str) -> Batch:
    """Copies under other row numbers have their class: exact ties decide nothing."""
    batch = random_batch(seed, dim=dim, weights=weights)
    labels = batch.labels.clone()
    labels[2] = labels[0]
    return batch._replace(labels=labels)


def weighted(batch: Batch, weights: list[float]) -> Batch:
    return batch._replace(weights=torch.tensor(weights, dtype=torch.float64))


def gradient(value: Tensor, by: Tensor) -> np.ndarray:
    return torch.autograd.grad(value, by)[0].numpy()


# Triplet


def test_triplets_of_three_points_by_hand():
    """Angles 0, 60, 90, labels 0, 0, 1: D01 = 1, D02 = sqrt 2, D12 = sqrt(2 - sqrt 3) = 0.518.

    Margin 0.5. Anchor 0: 1 < 1.414 < 1.5 is semi-hard: 1 - 1.414 + 0.5. Anchor 1: the negative is
    nearer than the positive: violating only, 1 - 0.518 + 0.5. Anchor 2 has no positive.
    """
    batch = batch_at([0, 60, 90], [0, 0, 1])
    semi_hard, hard = 1.5 - ROOT_2, 1.5 - NEAR**0.5
    value = triplet.loss({}, batch, margin=0.5)
    assert value.item() == near(semi_hard, abs=1e-12)
    value = triplet.loss({}, batch, margin=0.5, triplets="violating")
    assert value.item() == near((semi_hard + hard) / 2, abs=1e-12)


def test_triplets_of_squared_distances_by_hand():
    """As above, squared: anchor 0: 1 - 2 + 1.5, anchor 1: 1 - 0.268 + 1.5."""
    batch = batch_at([0, 60, 90], [0, 0, 1])
    value = triplet.loss({}, batch, margin=1.5, distance="squared")
    assert value.item() == near(0.5, abs=1e-12)
    value = triplet.loss({}, batch, margin=1.5, distance="squared", triplets="violating")
    assert value.item() == near((0.5 + 2.5 - NEAR) / 2, abs=1e-12)


def test_a_triplet_weighs_the_product_of_its_rows():
    """Angles 0, 60, 90, 90, labels 0, 0, 1, 2, weights 1, 1/2, 1, 1/4, all violating triplets:
    (0,1,.) and (1,0,.) weigh 1/2 with row 2 and 1/8 with row 3, at the same two values."""
    batch = weighted(batch_at([0, 60, 90, 90], [0, 0, 1, 2]), [1, 0.5, 1, 0.25])
    value = triplet.loss({}, batch, margin=0.5, triplets="violating")
    expected = (1.5 - ROOT_2 + 1.5 - NEAR**0.5) * (1 / 2 + 1 / 8) / (2 / 2 + 2 / 8)
    assert value.item() == near(expected, abs=1e-12)


def test_separated_classes_have_no_triplet_and_no_gradient():
    """Classes at 0 and 180 degrees: every negative is 2 away, every positive at most 0.1."""
    batch = batch_at([0, 5, 180, 185], [0, 0, 1, 1])
    embeddings = batch.embeddings.requires_grad_()
    value = triplet.loss({}, batch)
    assert value.item() == 0
    assert not gradient(value, embeddings).any()


@every_random_batch
def test_triplet_equals_the_loops(seed, dim, weights):
    batch = draw(seed, dim, weights)
    for kind in ("semi-hard", "violating"):
        for power, distance in ((1, "euclidean"), (2, "squared")):
            value = triplet.loss({}, batch, margin=0.3, triplets=kind, distance=distance)
            expected = loops.triplet(
                plain(batch), 0.3, is_semi_hard=kind == "semi-hard", power=power
            )
            assert value.item() == near(expected, abs=1e-10)


def test_a_collapsed_batch_costs_the_margin_and_its_distances_say_so():
    """All rows at one angle: every triplet is violating by the margin, none is semi-hard."""
    batch = batch_at([20] * 4, [0, 0, 1, 1])
    assert triplet.loss({}, batch, margin=0.3, triplets="violating").item() == near(0.3)
    assert triplet.loss({}, batch, margin=0.3).item() == 0
    assert [value.item() for value in triplet.facts({}, batch).values()] == [0, 0]


def test_the_triplet_facts_are_mean_distances_by_hand():
    """Angles 0, 60, 90, labels 0, 0, 1, weights 1, 1, 1/2: the positives are 1 apart; negatives
    sqrt 2 and 0.518 with equal weights."""
    found = triplet.facts({}, weighted(batch_at([0, 60, 90], [0, 0, 1]), [1, 1, 0.5]))
    assert found["positive_distance"].item() == near(1)
    assert found["negative_distance"].item() == near((ROOT_2 + NEAR**0.5) / 2)


@pytest.mark.parametrize("size", [1, 3 * 14 * 14])
def test_triplets_counted_in_chunks_are_those_counted_at_once(monkeypatch, size):
    """A chunk of one anchor, and of three, which does not divide 14."""
    batch = draw(0, 3, "fractional")
    embeddings = batch.embeddings.requires_grad_()
    whole = triplet.loss({}, batch)
    monkeypatch.setattr(_pairs, "_CHUNK", size)
    chunked = triplet.loss({}, batch)
    assert chunked.item() == near(whole.item(), abs=1e-14)
    expected = gradient(whole, embeddings)
    np.testing.assert_allclose(gradient(chunked, embeddings), expected, atol=1e-14)


# Lifted structure


def test_lifted_structure_of_three_points_by_hand():
    """Angles 0, 60, 90, labels 0, 0, 1, margin 1. The pair, both ways: D = 1 and the negatives
    exp(1 - 1.414) + exp(1 - 0.518): L = [1 + log(..)]^2 / 2.

    By anchors: anchor 0: 1 + (1 - 1.414), anchor 1: 1 + (1 - 0.518); by the two that have both.
    """
    batch = batch_at([0, 60, 90], [0, 0, 1])
    pair = 1 + log(exp(1 - ROOT_2) + exp(1 - NEAR**0.5))
    value = lifted_structure.loss({}, batch, margin=1.0, scale=1.0)
    assert value.item() == near(pair**2 / 2, abs=1e-12)
    value = lifted_structure.loss({}, batch, margin=1.0, scale=1.0, form="anchors")
    assert value.item() == near((4 - ROOT_2 - NEAR**0.5) / 2, abs=1e-12)


@every_random_batch
def test_lifted_structure_equals_the_loops(seed, dim, weights):
    batch = draw(seed, dim, weights)
    for scale in (1.0, 7.0):
        value = lifted_structure.loss({}, batch, margin=0.7, scale=scale)
        expected = loops.lifted_structure(plain(batch), 0.7, scale)
        assert value.item() == near(expected, abs=1e-10)
        value = lifted_structure.loss({}, batch, margin=0.7, scale=scale, form="anchors")
        expected = loops.lifted_structure_by_anchors(plain(batch), 0.7, scale)
        assert value.item() == near(expected, abs=1e-10)


# N-pair


def test_n_pair_of_two_classes_by_hand():
    """Class 0 twice at 0 degrees, class 1 three times at 90, class 2 once: a positive has cosine 1,
    a rival 0, the single row is no pair: log(1 + exp(2 (0 - 1))) for both."""
    batch = batch_at([0, 90, 0, 90, 30, 90], [0, 1, 0, 1, 2, 1])
    assert n_pair.loss({}, batch, scale=2.0).item() == near(log(1 + exp(-2)), abs=1e-12)


def test_an_n_pair_weighs_its_rows_and_the_rival_positive_by_hand():
    """As above without the leftovers, weights 1/2 for class 0 and 1/4 for class 1: the pairs weigh
    1/4 and 1/16, the rival positives 1/4 and 1/2."""
    batch = weighted(batch_at([0, 90, 0, 90], [0, 1, 0, 1]), [0.5, 0.25, 0.5, 0.25])
    first, second = log(1 + 0.25 * exp(-2)), log(1 + 0.5 * exp(-2))
    expected = (first / 4 + second / 16) / (1 / 4 + 1 / 16)
    assert n_pair.loss({}, batch, scale=2.0).item() == near(expected, abs=1e-12)


def pairs_of(batch: Batch) -> list[tuple[int, int]]:
    is_anchor, partner = n_pair.choose_pairs(batch)
    return [(int(a), int(partner[a])) for a in is_anchor.nonzero()]


@every_random_batch
def test_n_pair_equals_the_loops_on_exactly_one_pair_per_class(seed, dim, weights):
    batch = draw(seed, dim, weights)
    chosen = pairs_of(batch)
    for a, p in chosen:
        assert batch.labels[a] == batch.labels[p]
        assert batch.rows[a] != batch.rows[p]
        assert batch.weights[a] * batch.weights[p] > 0
    present = {
        (int(label), int(row))
        for label, row, weight in zip(batch.labels, batch.rows, batch.weights, strict=True)
        if weight > 0
    }
    samples = Counter(label for label, _ in present)
    has_pair = sorted(label for label, count in samples.items() if count >= 2)
    assert sorted(int(batch.labels[a]) for a, _ in chosen) == has_pair
    value = n_pair.loss({}, batch, scale=5.0)
    assert value.item() == near(loops.n_pair(plain(batch), chosen, 5.0), abs=1e-10)


def test_every_ordered_pair_of_a_class_gets_its_turn():
    """Four rows of one class beside other companions each time: 12 ordered pairs, 1200 batches."""
    turns: Counter[tuple[int, int]] = Counter()
    for other in range(1200):
        batch = batch_at([0, 10, 20, 30, 90, 100], [0, 0, 0, 0, 1, 1])
        batch = batch._replace(rows=torch.tensor([3, 50, 700, 9000, 10_000 + other, 20_000]))
        turns[pairs_of(batch)[0]] += 1
    assert len(turns) == 12
    assert min(turns.values()) > 60
    assert max(turns.values()) < 150


# Margin


def boundaries(*values: float) -> dict[str, Tensor]:
    return {"boundary": torch.tensor(values, dtype=torch.float64)}


def test_margin_of_three_points_by_hand():
    """Angles 0, 60, 90, labels 0, 0, 1, boundary 0.8, margin 0.2. Anchor 0: positive 0.2 + 1 - 0.8;
    the negative at 1.414 is too far to be drawn. Anchor 1: the same positive; the only negative, at
    0.518, has the share 1: 0.2 - 0.518 + 0.8. Three terms are above 0."""
    value = margin.loss(boundaries(0.8, 0.8), batch_at([0, 60, 90], [0, 0, 1]))
    assert value.item() == near((0.4 + 0.4 + 1 - NEAR**0.5) / 3, abs=1e-12)


def test_the_boundary_of_the_anchors_class_counts_and_learns():
    """As above with the boundary 0.8 for class 0 alone: its gradient is (-1 - 1 + 1) / 3."""
    parameters = {"boundary": boundaries(0.8, 1.9)["boundary"].requires_grad_()}
    value = margin.loss(parameters, batch_at([0, 60, 90], [0, 0, 1]))
    assert value.item() == near((0.4 + 0.4 + 1 - NEAR**0.5) / 3, abs=1e-12)
    assert gradient(value, parameters["boundary"]).tolist() == near([-1 / 3, 0])


def test_distance_weighted_shares_by_hand():
    """In the plane the density is D^0 (1 - D^2/4)^(-1/2) = 1 / cos(angle / 2): negatives at 60 and
    80 degrees are drawn as cos 30 to cos 40. One at 10 degrees, D = 0.174, counts as at the cutoff
    D = 0.5: (1 - 1/16)^(1/2). One at 120 degrees, D = 1.73, is beyond 1.4."""
    batch = batch_at([0, 60, 80, 10, 120], [0, 1, 1, 1, 1])
    pairs = _pairs.pairs_of(batch, batch)
    far = _pairs.distances(pairs.similarity)
    shares = margin.sampling_weights(far, pairs.negative, 2, 0.5, 1.4)[0]
    masses = [cos(radians(30)), cos(radians(40)), (15 / 16) ** 0.5]
    expected = [0, *(mass / sum(masses) for mass in masses), 0]
    assert shares.tolist() == near(expected, abs=1e-12)


@pytest.mark.parametrize("dim", [2, 3, 64, 512, 2048])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distance_weighted_shares_are_finite_at_all_distances(dim, dtype):
    far = torch.tensor([[0.0, 1e-6, 0.5, 1.0, 1.399, 1.5, 2.0], [1.5] * 7], dtype=dtype)
    for farthest in (1.4, 1.9999):
        shares = margin.sampling_weights(far, torch.ones_like(far), dim, 0.5, farthest)
        assert shares.isfinite().all()
        assert shares[0].sum().item() == near(1, abs=1e-5)
    assert not margin.sampling_weights(far, torch.ones_like(far), dim, 0.5, 1.4)[1].any()


@every_random_batch
def test_margin_equals_the_loops(seed, dim, weights):
    batch = draw(seed, dim, weights)
    start = [1.2, 0.9, 1.1, 1.3]
    for cutoff, farthest in ((0.5, 1.4), (0.9, 1.9)):
        value = margin.loss(boundaries(*start), batch, cutoff=cutoff, farthest=farthest)
        expected = loops.margin(plain(batch), start, 0.2, cutoff, farthest)
        assert value.item() == near(expected, abs=1e-10)
