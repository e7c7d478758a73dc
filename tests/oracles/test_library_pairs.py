"""Agreement of baseline pair losses with pytorch-metric-learning, where its definitions are ours.

It normalises embeddings itself, so gradients are compared at the raw vectors. Where it averages
over rows that ours leaves out, the batches here have no such row; each test says so.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.losses import circle, fastap, lifted_structure, margin, n_pair, triplet

from . import test_library
from .test_library import batch_of, gradient, raw_rows

SEEDS = range(3)
library = test_library.library


def assert_same(value: Tensor, expected: Tensor, vectors: Tensor) -> None:
    assert expected.item() > 0
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-8)
    # Distances from cosines lose some digits where they are small.
    torch.testing.assert_close(
        gradient(value, vectors), gradient(expected, vectors), rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("ours", "theirs"), [("semi-hard", "semihard"), ("violating", "all")])
@pytest.mark.parametrize(("distance", "power"), [("euclidean", 1), ("squared", 2)])
def test_triplet_with_their_miner(library, seed, ours, theirs, distance, power):
    """At one margin for the miner and the loss; their defaults are 0.2 and 0.05."""
    vectors, labels = raw_rows(seed)
    lengths = {"distance": library.distances.LpDistance(power=power)}
    miner = library.miners.TripletMarginMiner(margin=0.2, type_of_triplets=theirs, **lengths)
    loss = library.losses.TripletMarginLoss(margin=0.2, **lengths)
    expected = loss(vectors, labels, miner(vectors, labels))
    value = triplet.loss({}, batch_of(vectors, labels), triplets=ours, distance=distance)
    assert_same(value, expected, vectors)


@pytest.mark.parametrize("seed", SEEDS)
def test_lifted_structure(library, seed):
    vectors, labels = raw_rows(seed)
    expected = library.losses.LiftedStructureLoss(neg_margin=1, pos_margin=0)(vectors, labels)
    value = lifted_structure.loss({}, batch_of(vectors, labels), margin=1.0, scale=1.0)
    assert_same(value, expected, vectors)


@pytest.mark.parametrize("seed", SEEDS)
def test_lifted_structure_by_anchors(library, seed):
    """Every row has a positive: theirs would take the logarithm of an empty sum for 0."""
    vectors, _ = raw_rows(seed)
    labels = torch.arange(len(vectors)) % 4
    theirs = library.losses.GeneralizedLiftedStructureLoss(neg_margin=1, pos_margin=0)
    batch = batch_of(vectors, labels)
    value = lifted_structure.loss({}, batch, margin=1.0, scale=1.0, form="anchors")
    assert_same(value, theirs(vectors, labels), vectors)


@pytest.mark.parametrize("seed", SEEDS)
def test_n_pair_on_the_chosen_pairs(library, seed):
    """Theirs takes the first pair of each class, so it is shown our pairs alone, anchors first. It
    normalises, and has no factor of the cosines: scale 1."""
    vectors, labels = raw_rows(seed)
    is_anchor, partner = n_pair.choose_pairs(batch_of(vectors, labels))
    chosen = torch.cat([is_anchor.nonzero()[:, 0], partner[is_anchor]])
    expected = library.losses.NPairsLoss()(vectors[chosen], labels[chosen])
    assert_same(n_pair.loss({}, batch_of(vectors, labels), scale=1.0), expected, vectors)


@pytest.mark.parametrize("seed", SEEDS)
def test_margin_where_there_is_one_negative_to_draw(library, seed):
    """One row of class 1 among class 0: the only triplets are (a, p, that row), whatever is drawn,
    as long as it is within reach. The boundary's gradient is compared as well."""
    vectors, _ = raw_rows(seed)
    labels = torch.tensor([0] * 15 + [1])
    theirs = library.losses.MarginLoss(margin=0.2, beta=0.9, learn_beta=True, num_classes=2)
    theirs = theirs.double()
    parameters = {"boundary": theirs.beta.detach().clone().requires_grad_()}
    value = margin.loss(parameters, batch_of(vectors, labels), farthest=1.999999)
    expected = theirs(vectors, labels)
    ours, other = (
        torch.autograd.grad(loss, by, retain_graph=True)[0]
        for loss, by in ((value, parameters["boundary"]), (expected, theirs.beta))
    )
    torch.testing.assert_close(ours, other)
    assert_same(value, expected, vectors)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bins", [10, 17])
def test_fastap(library, seed, bins):
    vectors, labels = raw_rows(seed, num_classes=7)
    expected = library.losses.FastAPLoss(num_bins=bins)(vectors, labels)
    assert_same(fastap.loss({}, batch_of(vectors, labels), bins=bins), expected, vectors)


@pytest.mark.parametrize("seed", SEEDS)
def test_circle(library, seed):
    """Theirs averages over the terms above 0: softplus gives 0 for none of these."""
    vectors, labels = raw_rows(seed, num_classes=7)
    expected = library.losses.CircleLoss(m=0.4, gamma=80)(vectors, labels)
    assert_same(circle.loss({}, batch_of(vectors, labels)), expected, vectors)
