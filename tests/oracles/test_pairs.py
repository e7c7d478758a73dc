"""Pair losses against plain loops and against arithmetic by hand."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from pipeline.choices import recipes
from pipeline.losses import _pairs, contrastive, memory_contrastive, multi_similarity
from pipeline.program.memory import Memory

from . import pairs
from .examples import at_angles, batch_at, plain, random_batch

SEEDS = range(4)
WEIGHTS = ("ones", "binary", "fractional")
near = pytest.approx
HALF_ROOT_3 = 3**0.5 / 2


def test_contrastive_of_three_points_by_hand():
    """Angles 0, 60, 90 degrees, labels 0, 0, 1: S01 = cos 60 = 0.5, S02 = cos 90 = 0,
    S12 = cos 30 = 0.866.

    Positives (0,1), (1,0): 2 (1 - 0.5) = 1. Negatives above 0.4: (1,2), (2,1): 2 * 0.866. By 3.
    """
    value = contrastive.loss({}, batch_at([0, 60, 90], [0, 0, 1]), threshold=0.4)
    assert value.item() == near((1 + 2 * HALF_ROOT_3) / 3, abs=1e-12)


def test_contrastive_weighs_the_anchor_and_the_partner_by_hand():
    """As above with weights 1, 0.5, 1: the positive pairs weigh 0.5 each way: 2 * 0.5 * 0.5 = 0.5;
    the negative pairs too: 2 * 0.5 * 0.866. By the weight 2.5, or by 3 rows."""
    batch = batch_at([0, 60, 90], [0, 0, 1])
    batch = batch._replace(weights=torch.tensor([1.0, 0.5, 1.0], dtype=torch.float64))
    kept = contrastive.loss({}, batch, threshold=0.4)
    published = contrastive.loss({}, batch, threshold=0.4, divisor="batch")
    assert kept.item() == near((0.5 + HALF_ROOT_3) / 2.5, abs=1e-12)
    assert published.item() == near((0.5 + HALF_ROOT_3) / 3, abs=1e-12)


def test_a_negative_at_the_threshold_does_not_count():
    """Labels 0, 1 at one angle: S = 1 exactly. Threshold 1: nothing; below: 2 * 1 / 2 rows."""
    batch = batch_at([0, 0], [0, 1])
    assert contrastive.loss({}, batch, threshold=1.0).item() == 0
    assert contrastive.loss({}, batch, threshold=0.99).item() == 1


def test_exact_duplicates_are_pairs_and_one_sample_twice_is_not():
    """Three rows at angle 0 of label 0 and one at 90 degrees of label 0; rows 0 and 1 are one
    sample. Pairs with the last row: 3 both ways, 1 - 0 = 1 each; pairs inside: S = 1, adding 0."""
    batch = batch_at([0, 0, 0, 90], [0, 0, 0, 0])
    batch = batch._replace(rows=torch.tensor([7, 7, 8, 9]))
    assert contrastive.loss({}, batch).item() == near(6 / 4, abs=1e-12)
    positive = _pairs.pairs_of(batch, batch).positive
    assert positive[0].tolist() == [0, 0, 1, 1]


def test_memory_contrastive_by_hand():
    """One row at 0 degrees, label 0, sample 5. Memory: 60 degrees of label 0 (S = 0.5), 30 degrees
    of label 1 (S = 0.866), its own copy (sample 5) and an empty slot. Alone in the batch it has no
    pair there: L = 2 * (0.5 + 0.866) / 1."""
    batch = batch_at([0], [0])._replace(rows=torch.tensor([5]))
    memory = Memory(
        embeddings=at_angles([60, 30, 0, 0]),
        labels=torch.tensor([0, 1, 0, 0]),
        rows=torch.tensor([1, 2, 5, -1]),
        weights=torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64),
        pointer=torch.tensor(3),
    )
    value = memory_contrastive.loss({}, batch._replace(memory=memory), memory_weight=2.0)
    assert value.item() == near(2 * (0.5 + HALF_ROOT_3), abs=1e-12)


def test_multi_similarity_of_three_points_by_hand():
    """Angles 0, 60, 90, labels 0, 0, 1, epsilon 0.1.

    Anchor 0: positive 0.5, negative 0: 0 < 0.5 - 0.1 and 0.5 > 0 + 0.1: nothing is kept.
    Anchor 1: positive 0.5, negative 0.866: both are kept:
        1/2 log(1 + exp(-2 (0.5 - 0.5))) + 1/40 log(1 + exp(40 (0.866 - 0.5))).
    Anchor 2: no positive: nothing. The sum is divided by 3, skipped anchors included.
    """
    value = multi_similarity.loss({}, batch_at([0, 60, 90], [0, 0, 1]))
    expected = log(2) / 2 + log(1 + exp(40 * (HALF_ROOT_3 - 0.5))) / 40
    assert value.item() == near(expected / 3, abs=1e-12)


def test_multi_similarity_of_separated_classes_is_zero():
    """Classes at 0 and 90 degrees: min positive 1 - 0.1 > max negative 0: mining keeps nothing."""
    assert multi_similarity.loss({}, batch_at([0, 0, 90, 90], [0, 0, 1, 1])).item() == 0


def test_multi_similarity_keeps_copies_under_other_row_numbers_as_positives():
    """Two samples at 0 degrees of label 0 and one of label 1 at 30: S = 1 for the copies, 0.866 for
    the negative: kept is 0.866 > 1 - 0.2 and 1 < 0.866 + 0.2. One sample twice has no positive."""
    batch = batch_at([0, 0, 30], [0, 0, 1])
    value = multi_similarity.loss({}, batch, epsilon=0.2)
    pull = log(1 + exp(-2 * 0.5)) / 2
    push = log(1 + exp(40 * (HALF_ROOT_3 - 0.5))) / 40
    assert value.item() == near(2 * (pull + push) / 3, abs=1e-12)
    once = batch._replace(rows=torch.tensor([0, 0, 2]))
    assert multi_similarity.loss({}, once, epsilon=0.2).item() == 0


def test_the_papers_constants_are_a_recipe_and_another_loss():
    """The three points above: S10 = 0.5, S12 = 0.866; base 1 and beta 50."""
    recipe = recipes.recipe("multi-similarity-paper")
    assert recipe.loss == "multi-similarity"
    options = {name.removeprefix("loss."): value for name, value in recipe.options.items()}
    value = multi_similarity.loss({}, batch_at([0, 60, 90], [0, 0, 1]), **options)
    pull, push = log(1 + exp(-2 * -0.5)) / 2, log(1 + exp(50 * (HALF_ROOT_3 - 1))) / 50
    assert value.item() == near((pull + push) / 3, abs=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_contrastive_equals_the_loops(seed, weights):
    batch = random_batch(seed, weights=weights)
    for threshold, divisor in ((0.5, "kept"), (0.0, "batch")):
        value = contrastive.loss({}, batch, threshold=threshold, divisor=divisor)
        expected = pairs.contrastive(plain(batch), threshold, divisor)
        assert value.item() == near(expected, abs=1e-10)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_memory_contrastive_equals_the_loops(seed, weights):
    batch = random_batch(seed, weights=weights)
    value = memory_contrastive.loss({}, batch, threshold=0.3, memory_weight=0.7)
    expected = pairs.memory_contrastive(plain(batch), plain(batch.memory), 0.3, 0.7)
    assert value.item() == near(expected, abs=1e-10)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("num_classes", [2, 9])
def test_multi_similarity_equals_the_loops(seed, weights, num_classes):
    batch = random_batch(seed, num_classes=num_classes, weights=weights)
    value = multi_similarity.loss({}, batch, alpha=3.0, beta=20.0, base=0.4, epsilon=0.2)
    expected = pairs.multi_similarity(plain(batch), 3, 20, 0.4, 0.2)
    assert value.item() == near(expected, abs=1e-10)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_mining_keeps_the_pairs_of_the_loops_and_both_kinds_or_none(seed, weights):
    batch = random_batch(seed, num_classes=6, weights=weights)
    positive, negative = multi_similarity.mine(_pairs.pairs_of(batch, batch), 0.1)
    for i in range(len(batch.labels)):
        mined = pairs.mine(plain(batch), i, 0.1)
        assert (positive[i] > 0).sum() == len(mined.positives)
        assert (negative[i] > 0).sum() == len(mined.negatives)
        assert bool(mined.positives) == bool(mined.negatives)


def test_the_gradient_of_multi_similarity_is_that_of_its_pair_weights():
    """General pair weighting: on a mined positive the derivative by S_ij is
    -exp(-alpha (S_ij - base)) / (1 + sum_k exp(-alpha (S_ik - base))), on a mined negative
    +exp(beta (S_ij - base)) / (1 + sum_k exp(beta (S_ik - base)))."""
    similarity = torch.tensor([0.2, 0.6, 0.3, 0.7], dtype=torch.float64, requires_grad=True)
    is_positive = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    near_sum = _pairs.log1p_sum_exp(-2 * (similarity - 0.5), is_positive, dim=0) / 2
    far_sum = _pairs.log1p_sum_exp(40 * (similarity - 0.5), 1 - is_positive, dim=0) / 40
    (near_sum + far_sum).backward()
    pulls = [exp(-2 * (s - 0.5)) for s in (0.2, 0.6)]
    pushes = [exp(40 * (s - 0.5)) for s in (0.3, 0.7)]
    expected = [-p / (1 + sum(pulls)) for p in pulls] + [p / (1 + sum(pushes)) for p in pushes]
    assert similarity.grad.tolist() == near(expected, abs=1e-12)


def test_no_gradient_flows_into_the_memory_that_a_run_fills():
    batch = random_batch(0)
    embeddings = batch.embeddings.clone().requires_grad_()
    memory_contrastive.loss({}, batch._replace(embeddings=embeddings)).backward()
    assert embeddings.grad is not None
    assert not batch.memory.embeddings.requires_grad
