"""Closed-form pair weights against automatic differentiation by a free matrix of cosines.

The losses are written out here as the published table has them, with cosines that are leaves: no
embeddings, no symmetry, no unit norm.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipeline.losses import _pairs, binomial_deviance, contrastive, multi_similarity, triplet
from pipeline.losses._pairs import Pairs
from pipeline.measures import pair_weights
from pipeline.measures.pair_weights import PairWeights

from .examples import random_batch

SEEDS = range(4)
WEIGHTS = ("ones", "binary", "fractional")


def random_pairs(seed: int, weights: str) -> Pairs:
    """Cosines (14, 14) drawn freely, no two alike; anchor 3 has no positive, 4 no negative."""
    pairs = _pairs.pairs_of(*[random_batch(seed, weights=weights)] * 2)
    generator = torch.Generator().manual_seed(seed)
    similarity = 2 * torch.rand(14, 14, dtype=torch.float64, generator=generator) - 1
    positive, negative = pairs.positive.clone(), pairs.negative.clone()
    positive[3], negative[4] = 0, 0
    return Pairs(similarity, positive, negative)


def assert_equal_to_autograd(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor], pairs: Pairs, weights: PairWeights
) -> None:
    """Compares with the gradient of the sum over anchors of loss(S_i, P_i, N_i), and F with it."""
    similarity = pairs.similarity.clone().requires_grad_()
    rows = zip(similarity, pairs.positive, pairs.negative, strict=True)
    (expected,) = torch.autograd.grad(sum(loss(*row) for row in rows), similarity)
    found = weights.repulsion - weights.attraction
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for kind, own in (("positive", weights.attraction), ("negative", weights.repulsion)):
        assert (own >= 0).all()
        assert not own[getattr(pairs, kind) == 0].any()
    free = pairs.similarity.clone().requires_grad_()
    weighted = (weights.repulsion * free).sum() - (weights.attraction * free).sum()
    torch.testing.assert_close(torch.autograd.grad(weighted, free)[0], expected, rtol=0, atol=1e-12)


every_batch = pytest.mark.parametrize("weights", WEIGHTS)
every_seed = pytest.mark.parametrize("seed", SEEDS)


@every_batch
@every_seed
def test_contrastive(seed, weights):
    def loss(s: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return (negative * (s - 0.3).clamp_min(0)).sum() - (positive * s).sum()

    pairs = random_pairs(seed, weights)
    assert_equal_to_autograd(loss, pairs, pair_weights.contrastive(pairs, threshold=0.3))


@every_batch
@every_seed
def test_triplet(seed, weights):
    def loss(s: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        total = 0 * s.sum()
        for p in positive.nonzero():
            for n in negative.nonzero():
                total = total + (positive[p] * negative[n] * (s[n] - s[p] + 0.2).clamp_min(0)).sum()
        return total

    pairs = random_pairs(seed, weights)
    assert_equal_to_autograd(loss, pairs, pair_weights.triplet(pairs, margin=0.2))


@every_batch
@every_seed
def test_lifted_structure(seed, weights):
    def loss(s: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        if not (positive.any() and negative.any()):
            return 0 * s.sum()
        near = (positive * (0.4 - s).exp()).sum().log()
        far = (negative * (s - 0.4).exp()).sum().log()
        return (near + far).clamp_min(0)

    pairs = random_pairs(seed, weights)
    assert_equal_to_autograd(loss, pairs, pair_weights.lifted_structure(pairs))


def test_lifted_structure_pushes_nothing_where_the_hinge_is_closed():
    """One positive at S = 0.5, one negative at S = -0.5: -0.5 - 0.5 = -1 < 0."""
    pairs = Pairs(*torch.tensor([[[0.5, -0.5]], [[1.0, 0.0]], [[0.0, 1.0]]]).double())
    assert not torch.stack(pair_weights.lifted_structure(pairs)).any()


@every_batch
@every_seed
def test_binomial_deviance(seed, weights):
    def loss(s: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        near = (1 + (2 * (0.4 - s)).exp()).log()
        far = (1 + (30 * (s - 0.4)).exp()).log()
        total = 0 * s.sum()
        for values, masses in ((near, positive), (far, negative)):
            if masses.any():
                total = total + (masses * values).sum() / masses.sum()
        return total

    pairs = random_pairs(seed, weights)
    found = pair_weights.binomial_deviance(pairs, alpha=2, beta=30, base=0.4)
    assert_equal_to_autograd(loss, pairs, found)


@every_batch
@every_seed
def test_multi_similarity_after_mining(seed, weights):
    def loss(s: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        near = (1 + (positive * (-3 * (s - 0.4)).exp()).sum()).log() / 3
        far = (1 + (negative * (20 * (s - 0.4)).exp()).sum()).log() / 20
        return near + far

    pairs = random_pairs(seed, weights)
    mined = Pairs(pairs.similarity, *multi_similarity.mine(pairs, 0.1))
    found = pair_weights.multi_similarity(mined, alpha=3, beta=20, base=0.4)
    assert_equal_to_autograd(loss, mined, found)


def test_multi_similarity_is_the_published_form_of_its_table():
    """1 / (exp(-alpha (base - S_ij)) + sum_k exp(-alpha (S_ik - S_ij))) on positives,
    1 / (exp(beta (base - S_ij)) + sum_k exp(beta (S_ik - S_ij))) on negatives."""
    pairs = Pairs(
        *torch.tensor([[[0.2, 0.6, 0.3, 0.7]], [[1.0, 1, 0, 0]], [[0.0, 0, 1, 1]]]).double()
    )
    found = pair_weights.multi_similarity(pairs)
    s = pairs.similarity[0]
    for j, rivals, sharpness in ((0, s[:2], -2), (1, s[:2], -2), (2, s[2:], 40), (3, s[2:], 40)):
        own = (sharpness * (0.5 - s[j])).exp() + (sharpness * (rivals - s[j])).exp().sum()
        torch.testing.assert_close(sum(found)[0, j], 1 / own, rtol=0, atol=1e-12)


def test_weights_stay_finite_where_others_are_far_above_the_base():
    """Scale 256 on cosines of 1 that are no pairs, in float32."""
    pairs = Pairs(*torch.tensor([[[1.0, -1, 1]], [[0.0, 1, 0]], [[1.0, 0, 0]]]))
    for found in (
        pair_weights.multi_similarity(pairs, alpha=256, beta=256),
        pair_weights.binomial_deviance(pairs, alpha=256, beta=256),
    ):
        assert torch.stack(found).isfinite().all()


MODULES = [
    (contrastive, pair_weights.contrastive),
    (binomial_deviance, pair_weights.binomial_deviance),
    (multi_similarity, pair_weights.multi_similarity),
]


@every_batch
@pytest.mark.parametrize(("module", "closed_form"), MODULES)
def test_the_weighted_cosines_have_the_gradient_of_the_loss_itself(module, closed_form, weights):
    """Through the embeddings: F, times each anchor's weight, by the sum of the weights."""
    batch = random_batch(1, weights=weights)
    embeddings = batch.embeddings.clone().requires_grad_()
    live = batch._replace(embeddings=embeddings)
    (expected,) = torch.autograd.grad(module.loss({}, live), embeddings)
    pairs = _pairs.pairs_of(batch, batch)
    if module is multi_similarity:
        pairs = Pairs(pairs.similarity, *multi_similarity.mine(pairs, 0.1))
    attraction, repulsion = closed_form(pairs)
    similarity = embeddings @ embeddings.T
    terms = ((repulsion - attraction) * similarity).sum(dim=1)
    weighted = (batch.weights * terms).sum() / batch.weights.sum()
    (found,) = torch.autograd.grad(weighted, embeddings)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_triplet_loss_on_squared_distances_is_that_of_the_table_with_half_the_margin():
    """D^2 = 2 - 2 S: D_ap^2 - D_an^2 + m = 2 (S_an - S_ap + m / 2), over the mean's divisor."""
    batch = random_batch(2)
    embeddings = batch.embeddings.clone().requires_grad_()
    value = triplet.loss(
        {},
        batch._replace(embeddings=embeddings),
        margin=0.6,
        triplets="violating",
        distance="squared",
    )
    (expected,) = torch.autograd.grad(value, embeddings)
    weights = pair_weights.triplet(_pairs.pairs_of(batch, batch), margin=0.3)
    similarity = embeddings @ embeddings.T
    weighted = ((weights.repulsion - weights.attraction) * similarity).sum()
    (found,) = torch.autograd.grad(2 * weighted / weights.attraction.sum(), embeddings)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
