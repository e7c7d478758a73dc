"""Binomial deviance, FastAP and Circle against plain loops and against arithmetic by hand; and the
gradients of the losses that hold a factor constant."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.losses import (
    binomial_deviance,
    circle,
    fastap,
    lifted_structure,
    margin,
    n_pair,
    triplet,
)
from pipeline.program.batch import Batch

from . import baselines_pairs as loops
from .examples import batch_at, plain, random_batch, random_weights, unit_rows
from .test_baselines_pairs import (
    ROOT_3,
    WEIGHTS,
    boundaries,
    draw,
    every_random_batch,
    gradient,
    near,
    weighted,
)

# Binomial deviance


def test_binomial_deviance_of_three_points_by_hand():
    """Angles 0, 60, 90, labels 0, 0, 1: S01 = 0.5: log 2 for anchors 0 and 1. Negatives: S02 = 0:
    log(1 + exp(10 (0 - 0.5))); S12 = 0.866: log(1 + exp(10 * 0.366)); anchor 2: their mean."""
    value = binomial_deviance.loss({}, batch_at([0, 60, 90], [0, 0, 1]), beta=10.0)
    far, close = log(1 + exp(-5)), log(1 + exp(10 * (ROOT_3 / 2 - 0.5)))
    expected = (log(2) + far + log(2) + close + (far + close) / 2) / 3
    assert value.item() == near(expected, abs=1e-12)


@every_random_batch
def test_binomial_deviance_equals_the_loops(seed, dim, weights):
    batch = draw(seed, dim, weights)
    value = binomial_deviance.loss({}, batch, alpha=3.0, beta=60.0, base=0.4)
    expected = loops.binomial_deviance(plain(batch), 3.0, 60.0, 0.4)
    assert value.item() == near(expected, abs=1e-10)


# FastAP


def test_fastap_of_three_points_by_hand():
    """Angles 0, 60, 180, labels 0, 0, 1, bins = 2: centres at the squared distances 0, 2, 4.

    Query 0: the positive at 1 lies half in bin 0, half in bin 1, the negative at 4 in bin 2:
    AP = 1/2 * 1 + 1/2 * 1 = 1. Query 1: the negative at 3 lies half in bin 1, half in bin 2:
    AP = 1/2 * 1 + 1/2 * 1 / 1.5 = 5/6. Query 2 has no positive. L = 1 - (1 + 5/6) / 2.
    """
    batch = batch_at([0, 60, 180], [0, 0, 1])
    assert fastap.loss({}, batch, bins=2).item() == near(1 / 12, abs=1e-12)


def test_fastap_counts_weights_by_hand():
    """As above with weights 1, 1, 1/2: the half negative leaves 1/2 + 1/2 * 1 / 1.25 = 0.9."""
    batch = weighted(batch_at([0, 60, 180], [0, 0, 1]), [1, 1, 0.5])
    assert fastap.loss({}, batch, bins=2).item() == near(1 - (1 + 0.9) / 2, abs=1e-12)


def test_fastap_is_average_precision_where_distances_are_bins():
    """Angles 0, 60, 180, labels 0, 1, 0, bins at 0, 1, 2, 3, 4. Query 0: negative at 1, positive at
    4; query 2: negative at 3, positive at 4: both have an average precision of 1/2."""
    assert fastap.loss({}, batch_at([0, 60, 180], [0, 1, 0]), bins=4).item() == near(0.5, abs=1e-12)


def exact_average_precision(similarity: np.ndarray, is_positive: np.ndarray) -> float:
    """Mean over the positives of (positives up to it) / (partners up to it), by rank."""
    ranked = is_positive[np.argsort(-similarity)]
    ranks = ranked.nonzero()[0] + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_fastap_is_exact_average_precision_where_each_distance_has_a_centre_of_its_own(seed):
    """Vectors of n signs differ in h of them at the squared distance 4 h / n: with n bins every
    distance is a centre, and with n = 2^14 no two of a query are the same."""
    n, labels = 2**14, torch.tensor([0, 0, 0, 1, 1, 1, 2])
    signs = torch.randint(2, (7, n), generator=torch.Generator().manual_seed(seed)).double() * 2 - 1
    ones = torch.ones(7, dtype=torch.float64)
    batch = Batch(signs / n**0.5, labels, torch.arange(7), ones)
    similarity = (signs @ signs.T).numpy()
    expected = []
    for i in range(6):
        others = np.arange(7) != i
        assert len(set(similarity[i, others])) == 6
        is_positive = (labels[others] == labels[i]).numpy()
        expected.append(exact_average_precision(similarity[i, others], is_positive))
    assert fastap.loss({}, batch, bins=n).item() == near(1 - np.mean(expected), abs=1e-9)


@pytest.mark.parametrize("bins", [1, 2, 10, 33])
def test_the_shares_of_a_pair_add_up_to_one(bins):
    squared = torch.cat([torch.tensor([0.0, 4.0]), 4 * torch.rand(50)]).double()[None]
    shares = fastap.bin_shares(squared, bins)
    assert shares.shape == (1, 52, bins + 1)
    torch.testing.assert_close(shares.sum(dim=2), torch.ones_like(squared))
    assert ((shares > 0).sum(dim=2) <= 2).all()


@every_random_batch
def test_fastap_equals_the_loops(seed, dim, weights):
    batch = draw(seed, dim, weights)
    for bins in (1, 10, 25):
        value = fastap.loss({}, batch, bins=bins)
        assert value.item() == near(loops.fastap(plain(batch), bins), abs=1e-10)


# Circle


def test_circle_of_three_points_by_hand():
    """Angles 0, 60, 90, labels 0, 0, 1, scale 2, margin 0.4. The positive, S = 0.5, strength
    1.4 - 0.5: exponent -2 * 0.9 * (0.5 - 0.6) = 0.18. Anchor 0: negative S = 0, strength 0.4:
    2 * 0.4 * -0.4 = -0.32. Anchor 1: S = 0.866, strength 1.266: 2 * 1.266 * 0.466."""
    value = circle.loss({}, batch_at([0, 60, 90], [0, 0, 1]), scale=2.0)
    close = ROOT_3 / 2
    exponents = 0.18 - 0.32, 0.18 + 2 * (close + 0.4) * (close - 0.4)
    expected = sum(log(1 + exp(exponent)) for exponent in exponents) / 2
    assert value.item() == near(expected, abs=1e-12)


def test_circle_leaves_out_rows_without_positives_or_without_negatives():
    for labels in ([0, 1, 2], [0, 0, 0]):
        assert circle.loss({}, batch_at([0, 60, 90], labels)).item() == 0


@every_random_batch
def test_circle_equals_the_loops(seed, dim, weights):
    batch = draw(seed, dim, weights)
    for scale in (4.0, 80.0):
        value = circle.loss({}, batch, scale=scale, margin=0.3)
        assert value.item() == near(loops.circle(plain(batch), scale, 0.3), rel=1e-12, abs=1e-10)


# Factors that are constant for the gradient: it is the derivative with these factors held.


def numeric_gradient(function, embeddings: Tensor, step: float = 1e-5) -> np.ndarray:
    """Central differences by every coordinate, (B, D), along the unit sphere."""
    found = np.zeros(embeddings.shape)
    for i, j in np.ndindex(*embeddings.shape):
        moved = []
        for sign in (1, -1):
            point = embeddings.detach().clone()
            point[i, j] += sign * step
            moved.append(function(functional.normalize(point, dim=1)))
        found[i, j] = (moved[0] - moved[1]) / (2 * step)
    return found


def along_the_sphere(found: np.ndarray, embeddings: Tensor) -> np.ndarray:
    rows = embeddings.detach().numpy()
    return found - (found * rows).sum(axis=1, keepdims=True) * rows


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_gradient_of_circle_holds_its_strengths(weights):
    batch = random_batch(4, rows=8, weights=weights)
    embeddings = batch.embeddings.requires_grad_()
    found = along_the_sphere(gradient(circle.loss({}, batch, scale=5.0), embeddings), embeddings)
    still = plain(batch._replace(embeddings=embeddings.detach(), memory=None))

    def held(point: Tensor) -> float:
        return loops.circle(still._replace(embeddings=point.numpy()), 5.0, 0.4, at=still)

    np.testing.assert_allclose(found, numeric_gradient(held, embeddings), atol=1e-8)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_gradient_of_margin_holds_its_shares(weights):
    batch = random_batch(4, rows=8, dim=5, weights=weights)
    # Copies have no slope at distance 0, where a difference quotient has one.
    embeddings = unit_rows(8, 5, torch.Generator().manual_seed(4)).requires_grad_()
    batch = batch._replace(embeddings=embeddings)
    start = [1.0, 1.1, 1.2, 1.3]
    found = along_the_sphere(
        gradient(margin.loss(boundaries(*start), batch), embeddings), embeddings
    )
    still = plain(batch._replace(embeddings=embeddings.detach()))

    def held(point: Tensor) -> float:
        moved = still._replace(embeddings=point.numpy())
        return loops.margin(moved, start, 0.2, 0.5, 1.4, at=still)

    np.testing.assert_allclose(found, numeric_gradient(held, embeddings), atol=1e-8)


def test_copies_of_one_another_attract_nothing_and_repel_finitely():
    """Distance 0 has no slope: rows at one angle give finite gradients in every loss."""
    weights = random_weights(4, "ones", torch.Generator())
    for module in (triplet, lifted_structure, n_pair, margin, binomial_deviance, fastap, circle):
        batch = batch_at([20, 20, 20, 20], [0, 0, 1, 1])._replace(weights=weights)
        embeddings = batch.embeddings.requires_grad_()
        value = module.loss(boundaries(1.2, 1.2), batch)
        assert np.isfinite(gradient(value, embeddings)).all()
