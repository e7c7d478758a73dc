"""The Hierarchical Triplet Loss against loops and by hand; its survey, batches and facts."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cache.errors import InputError
from pipeline.losses import _class_tree, _pairs, hierarchical_triplet
from pipeline.losses.hierarchical_triplet import facts, loss, margins, sample, survey
from pipeline.program.batch import Batch

from . import class_tree
from .examples import batch_at, plain, random_batch, random_weights, unit_rows
from .pairs import Rows

SEEDS = range(3)
WEIGHTS = ("ones", "binary", "fractional")
near = pytest.approx

# Four classes A, B, C, D of two rows each. Rows at c - t and c + t degrees: mu = cos t at c,
# s = 2 - 2 cos 2t. A: 0 +- 30, s = 1; B: 0 twice, s = 0; C: 180 +- 30, s = 1; D: 70 twice, s = 0.
# d_0 = (1 + 0 + 1 + 0) / 4 = 0.5; with L = 7 the thresholds are 0.5, 1, 1.5, ... 4.
ANGLES = [-30, 30, 0, 0, 150, 210, 70, 70]
LABELS = [0, 0, 1, 1, 2, 2, 3, 3]


def look(batch: Batch, num_classes: int, **options: object) -> dict[str, Tensor]:
    given = batch.embeddings, batch.labels, batch.weights.double()
    return survey(*given, num_classes, torch.Generator(), **options)


def four_classes(**options: object) -> Batch:
    batch = batch_at(ANGLES, LABELS)
    return batch._replace(survey=look(batch, 4, **{"levels": 7} | options))


def surveyed(seed: int, weights: str) -> tuple[Batch, dict[tuple[int, int], float]]:
    """A random batch with a survey of other rows, and its margins by brute force."""
    generator = torch.Generator().manual_seed(seed + 50)
    labels = torch.randint(4, (25,), generator=generator)
    kept = random_weights(25, weights, generator)
    rows = Batch(unit_rows(25, 3, generator), labels, torch.arange(25), kept)
    seen = Rows(*(each[kept > 0] for each in plain(rows)[:4]))
    sizes = [float(seen.weights[seen.labels == c].sum()) for c in range(4)]
    distance = np.zeros((4, 4))
    for p, q in product(range(4), repeat=2):
        distance[p, q] = class_tree.class_distance(seen, p, q)
    heights = class_tree.thresholds(seen, 16)
    tree = class_tree.tree_distance(distance, sizes, heights, "average")
    spread = [class_tree.spread(seen, c) for c in range(4)]
    spread = [heights[0] if each is None else each for each in spread]
    alpha = {(a, n): 0.1 + tree[a, n] - spread[a] for a, n in product(range(4), repeat=2)}
    return random_batch(seed, weights=weights)._replace(survey=look(rows, 4)), alpha


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_it_equals_the_loop_over_triplets(seed, weights):
    batch, alpha = surveyed(seed, weights)
    expected, _ = class_tree.hierarchical_triplet(plain(batch), alpha)
    assert loss({}, batch).item() == near(expected, abs=1e-12)
    clamped = {classes: max(0.0, each) for classes, each in alpha.items()}
    expected, _ = class_tree.hierarchical_triplet(plain(batch), clamped)
    assert loss({}, batch, clamp=True).item() == near(expected, abs=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_without_a_survey_the_margin_is_constant(weights):
    batch = random_batch(0, weights=weights)
    flat = dict.fromkeys(product(range(4), repeat=2), 0.3)
    expected, _ = class_tree.hierarchical_triplet(plain(batch), flat)
    assert loss({}, batch, margin=0.3).item() == near(expected, abs=1e-12)


def test_the_margins_of_four_classes_by_hand():
    """d(A,B) = 2 - 2 cos 30 = 0.27: below 0.5, so d_H = 0.5. d(B,D) = 2 - 2 cos 70 = 1.32 and
    d(A,D) = 2 - 2 cos 30 cos 70 = 1.41, mean 1.36: d_H = 1.5. d(C,A) = 2 + 2 cos^2 30 = 3.5,
    d(C,B) = 2 + 2 cos 30 = 3.73, d(C,D) = 2 - 2 cos 30 cos 110 = 2.59, mean 3.27: d_H = 3.5; by the
    nearest class alone, D, it is 3. alpha = 0.1 + d_H - s_a."""
    found = four_classes().survey
    assert found["spread"].tolist() == near([1, 0, 1, 0], abs=1e-12)
    assert found["thresholds"].tolist() == near([0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4], abs=1e-12)
    table = margins(torch.arange(4), found, 0.1)
    expected = [[-0.4, 2.6, 0.6], [0.6, 3.6, 1.6], [2.6, 2.6, 2.6], [1.6, 1.6, 3.6]]
    for own, row in enumerate(expected):
        assert [table[own, n].item() for n in range(4) if n != own] == near(row, abs=1e-12)
    single = margins(torch.arange(4), four_classes(linkage="single").survey, 0.1)
    assert single[0].tolist()[1:] == near([-0.4, 2.1, 0.6], abs=1e-12)
    assert found["nearest"].tolist() == [[1, 3, 2], [0, 3, 2], [3, 0, 1], [1, 0, 2]]


def test_a_loss_by_hand():
    """Rows of B (0, 0 degrees) and D (70, 70): four anchors, 1 positive, 2 negatives each: Z = 8.
    D_ap = 0, D_an^2 = 2 - 2 cos 70 = 1.316, alpha = 1.6 for both: L = (1.6 - 1.316) / 2."""
    batch = batch_at([0, 0, 70, 70], [1, 1, 3, 3])._replace(survey=four_classes().survey)
    expected = (1.6 - (2 - 2 * np.cos(np.deg2rad(70)))) / 2
    assert loss({}, batch).item() == near(expected, abs=1e-12)


@pytest.mark.parametrize(("classes", "rows"), [(2, 2), (3, 4), (5, 3)])
def test_z_is_the_number_of_triplets(classes, rows):
    """(l'm)(l'm - 1) t (t - 1) t for a batch of l'm classes with t rows each."""
    labels = [label for label in range(classes) for _ in range(rows)]
    batch = batch_at(range(len(labels)), labels)
    pairs = _pairs.pairs_of(batch, batch)
    count = hierarchical_triplet.count_triplets(pairs.positive, pairs.negative)
    assert count == classes * (classes - 1) * rows * (rows - 1) * rows
    flat = dict.fromkeys(product(range(classes), repeat=2), 0.0)
    assert count == class_tree.hierarchical_triplet(plain(batch), flat)[1]


def test_chunks_of_anchors_change_nothing(monkeypatch):
    batch, _ = surveyed(0, "fractional")

    def both() -> tuple[Tensor, Tensor]:
        rows = batch.embeddings.clone().requires_grad_()
        value = loss({}, batch._replace(embeddings=rows))
        return value.detach(), torch.autograd.grad(value, rows)[0]

    whole = both()
    monkeypatch.setattr(_pairs, "_CHUNK", 3 * 14**2)
    torch.testing.assert_close(both(), whole, rtol=1e-12, atol=1e-14)


def test_the_gradient_is_the_derivative_of_the_hinges():
    batch, _ = surveyed(1, "fractional")
    rows = batch.embeddings.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss({}, batch._replace(embeddings=x)), rows)


def test_three_runs_with_trees_of_their_own_at_once_equal_one_by_one():
    batches = [surveyed(seed, weights)[0] for seed, weights in zip(SEEDS, WEIGHTS, strict=True)]

    def run(rows, labels, index, weights, found):
        return loss({}, Batch(rows, labels, index, weights, survey=found))

    given = [(*batch[:4], batch.survey) for batch in batches]
    stacked = torch.utils._pytree.tree_map(lambda *leaves: torch.stack(leaves), *given)
    values = torch.func.vmap(run)(*stacked)
    assert values.tolist() == near([run(*each).item() for each in given], abs=1e-12)


def test_rows_of_weight_0_do_not_shape_the_tree():
    batch = random_batch(3, rows=40, num_classes=6, weights="binary")
    kept = batch.weights > 0
    without = Batch(*(part[kept] for part in batch[:4]))
    torch.testing.assert_close(look(batch, 7), look(without, 7), rtol=1e-12, atol=1e-12)


def test_classes_of_one_row_and_of_none_are_handled():
    """C has one row left: its s is d_0 = (1 + 0) / 2 of A and D. B has none: alone up to the last
    level, nobody's neighbour. All tensors have the shape that they always have."""
    batch = batch_at(ANGLES, LABELS)
    batch = batch._replace(weights=torch.tensor([1.0, 1, 0, 0, 1, 0, 1, 1]))
    found = look(batch, 4)
    assert found["spread"].tolist() == near([1, 0.5, 0.5, 0], abs=1e-12)
    assert found["nearest"].tolist() == [[3, 2, -1], [-1] * 3, [3, 0, -1], [0, 2, -1]]
    level = _class_tree.meeting_levels(found["ancestors"])
    assert level[1].tolist() == [16, 0, 16, 16]
    shapes = {name: value.shape for name, value in found.items()}
    for weights in (torch.zeros(8), torch.ones(8)):
        other = look(batch._replace(weights=weights), 4)
        assert {name: value.shape for name, value in other.items()} == shapes
        assert all(value.isfinite().all() for value in other.values())
    assert loss({}, batch._replace(survey=found)).isfinite()


def draw(labels: Tensor, near_by: Tensor, batch_size: int = 24, **options: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return sample(labels, batch_size, generator, {"nearest": near_by}, **options)


def ring(classes: int, count: int = 2) -> Tensor:
    """The classes after it as each class's nearest."""
    return (torch.arange(classes)[:, None] + torch.arange(1, count + 1)) % classes


@pytest.mark.parametrize("sizes", [[7] * 12, [1, 2, 3, 4] * 5, [60, 1, 1, 1, 1, 1, 1, 1, 1]])
def test_a_batch_has_exactly_so_many_distinct_classes_and_no_row_twice(sizes):
    """B = 24, m = 3, t = 4: l' = 2 anchors, 6 classes, 24 places."""
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    steps = draw(labels, ring(len(sizes)))
    assert steps.shape == (-(-sum(-(-n // 4) for n in sizes) // 6), 24)
    for step in steps.view(-1, 6, 4):
        shown = step[step >= 0]
        assert len(shown.unique()) == len(shown)
        classes = [labels[group[group >= 0]].unique() for group in step]
        assert all(len(each) == 1 for each in classes)
        assert len(torch.cat(classes).unique()) == 6
        for group, label in zip(step, classes, strict=True):
            assert (group >= 0).sum() == min(4, sizes[label])


def test_a_batch_holds_an_anchor_with_its_nearest_and_refills_after_overlaps():
    """Pairs (0, 1), (2, 3), ...: each is the other's nearest, so anchors 0 and 1 would give two
    classes in place of four; the next anchors fill up, and again bring theirs along."""
    labels = torch.arange(16).repeat(4)
    steps = draw(labels, (torch.arange(16) ^ 1)[:, None], 16)
    for step in steps:
        classes = labels[step].unique()
        assert len(classes) == 4
        assert torch.equal((classes ^ 1).sort().values, classes)


def test_fewer_classes_than_a_batch_takes_are_all_in_every_batch():
    labels = torch.tensor([0, 0, 2, 2, 2, 2, 2, 2])  # class 1 has no row
    near_by = torch.tensor([[2, -1], [-1, -1], [0, -1]])
    steps = draw(labels, near_by, 12, images_per_class=3)
    assert steps.shape == (2, 6)
    assert all(set(labels[step[step >= 0]].tolist()) == {0, 2} for step in steps)
    assert set(steps.flatten().tolist()) == {-1, *range(8)}  # class 2 has shown all its rows


def test_most_rows_are_shown_in_an_epoch_and_epochs_differ():
    """Drawing anchors and rows blindly would show about 63 %."""
    labels = torch.arange(60).repeat_interleave(10)
    generator = torch.Generator().manual_seed(1)
    near_by = torch.randint(60, (60, 3), generator=generator)
    epochs = [sample(labels, 128, generator, {"nearest": near_by}) for _ in range(2)]
    for epoch in epochs:
        assert len(epoch[epoch >= 0].unique()) > 0.75 * len(labels)
    assert not torch.equal(*epochs)


def test_a_batch_too_small_for_one_group_is_refused_and_says_what_to_do():
    with pytest.raises(InputError, match="batch_size is 11: .* 3 classes x 4 rows = 12; lower"):
        draw(torch.arange(4).repeat(4), ring(4), 11)


def test_the_facts_of_four_classes_by_hand():
    """Mergers at levels 0 (A, B), 2 (D) and 6 (C): 3 levels; at level 3 of 7: {A, B, D}, {C}; of
    twelve margins one, of anchor A and negative B, is below 0."""
    batch = four_classes()
    found = {name: value.item() for name, value in facts({}, batch).items()}
    assert found == {
        "mean_spread": near(0.5),
        "merging_levels": 3,
        "middle_nodes": 2,
        "negative_margins": near(1 / 12),
    }
    assert facts({}, batch, margin=0.6)["negative_margins"] == 0
    assert facts({}, batch._replace(survey=None)) == {}


def test_the_share_of_margins_below_0_equals_the_count_over_all_pairs():
    batch, alpha = surveyed(2, "fractional")
    expected = np.mean([alpha[pair] < 0 for pair in alpha if pair[0] != pair[1]])
    assert 0 < expected < 1
    assert facts({}, batch)["negative_margins"].item() == near(expected)


def test_label_noise_flattens_the_tree_unless_it_is_weighed_out():
    """At 60 % random labels the means move together and d_0 grows, so classes merge at few levels.
    With the wrong rows at weight 0 the tree is that of the right rows."""
    generator = torch.Generator().manual_seed(0)
    true = torch.arange(20).repeat(30)
    centres = unit_rows(20, 8, generator)
    rows = functional.normalize(centres[true] + 0.5 * unit_rows(600, 8, generator), dim=1)
    is_wrong = torch.rand(600, generator=generator) < 0.6
    labels = torch.where(is_wrong, torch.randint(20, (600,), generator=generator), true)

    def figures(labels: Tensor, weights: Tensor) -> dict[str, float]:
        batch = Batch(rows, labels, torch.arange(600), weights)
        found = facts({}, batch._replace(survey=look(batch, 20)))
        return {name: value.item() for name, value in found.items()}

    clean, noisy = (figures(each, torch.ones(600)) for each in (true, labels))
    weighed = figures(labels, 1 - is_wrong.double())
    for best in (clean, weighed):
        assert best["mean_spread"] < 0.5 < noisy["mean_spread"]
        assert best["merging_levels"] > noisy["merging_levels"]
        assert best["middle_nodes"] > noisy["middle_nodes"]
