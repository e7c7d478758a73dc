"""The density curriculum against plain loops and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.choices import recipes
from pipeline.selection import _density, curriculum, knn
from pipeline.selection._state import State

from . import baselines_selection as oracle
from .examples import at_angles, noisy_classes, unit_rows

SEEDS = range(4)
NOT_USED = torch.Generator()


def test_density_of_four_rows_by_hand():
    """Rows at 0, 10, 30, 180. Of the 16 sorted distances element int(0.6 * 16) = 9 is the pair
    (0, 30): 4 zeros, then (0, 10), (10, 30), (0, 30) twice each. Closer are the pairs (0, 10) and
    (10, 30): densities 1, 2, 1, 0."""
    assert _density.densities(at_angles([0, 10, 30, 180]), 0.6).tolist() == [1, 2, 1, 0]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("share", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("rows", [1, 2, 3, 30])
def test_densities_equal_the_loops_whole_and_in_tiles(seed, share, rows, monkeypatch):
    unit = unit_rows(rows, 4, torch.Generator().manual_seed(seed))
    expected = oracle.densities(np.asarray(unit), share)
    assert _density.densities(unit, share).tolist() == expected
    for elements in (1, 70, 200):
        monkeypatch.setattr(_density, "_TILE_ELEMENTS", elements)
        assert _density.densities(unit, share).tolist() == expected


@pytest.mark.parametrize("place", [0, 1, 499, 500, 777, 999])
def test_the_nth_smallest_of_tiles_is_that_of_the_sorted_values(place):
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0)) ** 8 * 4
    values[:100] = 0
    values[500:600] = values[500]
    tiles = values.view(8, 125)
    found = _density.nth_smallest(lambda: iter(tiles), place)
    assert found == values.sort().values[place]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [3, 5, 12, 40])
def test_three_groups_equal_the_best_of_all_cuts(seed, size):
    generator = torch.Generator().manual_seed(seed)
    values = (20 * torch.rand(size, generator=generator) ** 2).long()
    expected = oracle.three_groups(values.tolist())
    found = _density.three_groups(values)
    assert found.tolist() == expected
    assert found.bincount(minlength=3).sum() == size


def test_fewer_than_three_different_values_are_one_group():
    assert _density.three_groups(torch.tensor([5, 5, 1, 1])).tolist() == [0, 0, 0, 0]
    assert _density.three_groups(torch.tensor([3])).tolist() == [0]


def start_curriculum(features: Tensor, labels: Tensor, **options: float | str) -> State:
    return curriculum.start(features, labels, int(labels.max()) + 1, NOT_USED, **options)


def test_planted_outliers_are_in_the_last_subset_and_score_lowest():
    """Two classes of 30 rows each around their centre, 4 of which lie far out."""
    generator = torch.Generator().manual_seed(0)
    centres = functional.normalize(torch.randn(2, 16, generator=generator), dim=1)
    labels = torch.arange(60) % 2
    features = centres[labels] + 0.1 * torch.randn(60, 16, generator=generator)
    features[:8] = functional.normalize(torch.randn(8, 16, generator=generator), dim=1)
    state = start_curriculum(features, labels)
    assert (state.extras["subset"][:8] == 2).all()
    assert (state.scores[:8] < state.scores[8:].min()).all()
    assert (state.scores <= 1).all()


def test_classes_of_copies_and_small_ones_that_are_kept_are_in_the_first_subset_as_a_whole():
    features, labels, _ = noisy_classes(0, 0.0, rows=96)  # 12 rows a class
    labels[labels == 3] = torch.tensor([3] * 11 + [4])  # now 11, and 13
    features[labels == 5] = features[5].clone()
    state = start_curriculum(features, labels, small_classes="keep")
    for number in range(8):
        is_whole = not state.extras["subset"][labels == number].any()
        assert is_whole == (number in (3, 5))
        assert bool((state.scores[labels == number] == 1).all()) == is_whole
    everything = start_curriculum(features, labels, smallest_class=14, small_classes="keep")
    assert not everything.extras["subset"].any()


@pytest.mark.parametrize("split", ["class", "global"])
def test_rows_of_small_classes_are_judged_by_the_labels_of_their_neighbours(split):
    """10 rows of each of 30 classes, and 60 of the last: subset 0 from a share of a half on, subset
    2 where no neighbour agrees. The large class goes by its density alone."""
    features, labels, is_flipped = noisy_classes(0, 0.3, rows=360, classes=30)
    labels = torch.where(torch.arange(360) >= 300, 30, labels)
    state = start_curriculum(features, labels, split=split)
    is_small = labels.bincount()[labels] < 12
    shares = knn.start(features, labels, 31, NOT_USED).scores[is_small]
    assert 100 < is_small.sum() < 300
    assert torch.equal(state.scores[is_small], shares)
    expected = [0 if share >= 0.5 else 1 if share > 0 else 2 for share in shares.tolist()]
    assert state.extras["subset"][is_small].tolist() == expected
    alone = start_curriculum(features[labels == 30], labels[labels == 30], split=split)
    assert torch.equal(state.scores[labels == 30], alone.scores)
    wrong, subset = is_flipped[is_small], state.extras["subset"][is_small]
    assert wrong[subset == 2].float().mean() > 0.8 > 0.2 > wrong[subset == 0].float().mean()


def test_a_global_split_ranks_all_classes_together_and_spares_the_clean_ones():
    """52.3 and 32.4 of 100 rows. Half of the classes have wrong labels: theirs go first."""
    features, labels, _ = noisy_classes(0, 0.0, rows=800)
    generator = torch.Generator().manual_seed(3)
    is_wrong = (labels < 4) & (torch.rand(800, generator=generator) < 0.3)
    labels = torch.where(is_wrong, (labels + 1) % 4, labels)
    state = start_curriculum(features, labels, split="global")
    values, subset = state.scores, state.extras["subset"]
    sizes = subset.bincount(minlength=3)
    assert sizes[0] >= 0.523 * 800
    assert sizes[0] + sizes[1] >= 0.847 * 800
    assert sizes[2] > 0.1 * 800
    assert values[subset == 0].min() > values[subset == 1].max()
    assert values[subset == 1].min() > values[subset == 2].max()
    within = start_curriculum(features, labels).extras["subset"]
    is_clean = labels >= 4
    assert (subset[is_clean] == 2).sum() < (within[is_clean] == 2).sum()


def test_groups_by_share_keep_equal_values_together():
    """Of 10 values half, then 3 tenths: places 5 and 8 from above hold 6 and 3."""
    values = torch.tensor([9, 8, 7, 6, 6, 6, 4, 3, 3, 1])
    groups = _density.groups_by_share(values, 0.5, 0.3)
    assert groups.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1, 2]
    assert _density.groups_by_share(values[:1], 0.5, 0.3).tolist() == [0]


@pytest.mark.parametrize(("progress", "entered"), [(0.0, 1), (0.4, 2), (0.7, 3)])
def test_weighting_by_density_multiplies_with_the_score(progress, entered):
    features, labels, _ = noisy_classes(1, 0.3)
    state = start_curriculum(features, labels, weighting="density")
    has_entered = state.extras["subset"] < entered
    options = {"noisy_weight": 1.0, "highly_noisy_weight": 1.0, "weighting": "density"}
    later = curriculum.refresh(state, features, labels, 8, progress, **options)
    assert torch.equal(later.weights, has_entered * state.scores)
    if progress == 0:
        assert torch.equal(state.weights, later.weights)


def test_the_order_of_the_rows_does_not_change_their_subsets():
    features, labels, _ = noisy_classes(1, 0.3)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(2))
    whole = start_curriculum(features, labels).extras["subset"]
    moved = start_curriculum(features[order], labels[order]).extras["subset"]
    assert torch.equal(moved, whole[order])


@pytest.mark.parametrize(
    ("progress", "weights"),
    [(0.0, [1, 0, 0]), (0.33, [1, 0, 0]), (1 / 3, [1, 0.5, 0]), (2 / 3, [1, 0.5, 0.5])],
)
def test_the_subsets_enter_in_three_stages(progress, weights):
    features, labels, _ = noisy_classes(1, 0.3)
    state = start_curriculum(features, labels)
    assert torch.equal(state.weights, (state.extras["subset"] == 0).float())
    later = curriculum.refresh(state, features, labels, 8, progress)
    assert torch.equal(later.weights, torch.tensor(weights)[state.extras["subset"]])
    assert later.scores is state.scores


def test_the_recipe_curriculum_is_proxy_anchor_in_stages():
    recipe = recipes.recipe("curriculum")
    assert (recipe.loss, recipe.selection) == ("proxy-anchor", "curriculum")
