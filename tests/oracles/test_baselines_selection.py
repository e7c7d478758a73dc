"""kNN label share, PRISM with von Mises-Fisher classes, and the density curriculum."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
import torch
from scipy.special import ive
from torch import Tensor
from torch.nn import functional

from pipeline.choices import recipes
from pipeline.selection import (
    _density,
    _posterior,
    _von_mises_fisher,
    curriculum,
    knn,
    prism,
    prism_vmf,
)

from . import baselines_selection as oracle
from .examples import at_angles, unit_rows

SEEDS = range(4)
near = pytest.approx
NOT_USED = torch.Generator()


def random_rows(seed: int, num_classes: int = 6, rows: int = 40) -> tuple[Tensor, Tensor]:
    """Unit rows (N, 5) float64, two of them copies of others; class 4 has one row, class 5 none."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes - 2, (rows,), generator=generator)
    labels[7] = num_classes - 2
    features = unit_rows(rows, 5, generator)
    features[20], features[21] = features[3], features[3]
    return features, labels


def noisy_classes(
    seed: int, noise_rate: float, rows: int = 600, classes: int = 8
) -> tuple[Tensor, Tensor, Tensor]:
    """Gaussian classes, labels flipped to any other: features, given labels, which flipped."""
    generator = torch.Generator().manual_seed(seed)
    true = torch.arange(rows) % classes
    centres = torch.randn(classes, 24, generator=generator)
    features = centres[true] + 0.7 * torch.randn(rows, 24, generator=generator)
    is_flipped = torch.rand(rows, generator=generator) < noise_rate
    other = (true + torch.randint(1, classes, (rows,), generator=generator)) % classes
    return features, torch.where(is_flipped, other, true), is_flipped


def test_label_shares_of_five_rows_by_hand():
    """Rows at 0, 10, 20, 25, 90 of class 0, 0, 1, 1, 0 and k = 3. Row 2 (at 20) sees 25, 10, 0:
    one vote for its class, two for class 0: 1/2. Row 4 sees 25, 20, 10: one for its own, two for
    class 1: 1/2. Row 0 sees 10, 20, 25: 1/2. Row 1 sees 0, 20, 25 (10, 10, 15 away): 1/2."""
    labels = torch.tensor([0, 0, 1, 1, 0])
    rows = at_angles([0, 10, 20, 25, 90])
    state = knn.start(rows, labels, 2, NOT_USED, neighbours=3)
    assert state.scores.tolist() == near([0.5, 0.5, 0.5, 0.5, 0.5])
    assert state.weights.tolist() == [1] * 5
    state = knn.start(rows, labels, 2, NOT_USED, neighbours=3, threshold=0.6)
    assert state.weights.tolist() == [0] * 5
    assert state.noise_rate == 1


def test_a_copy_votes_once_and_not_for_its_own_copies():
    """Rows at 0, 0, 0 (class 0), 10 (class 1), 20 (class 0) and k = 2. Row 3 sees the first row at
    0 and the row at 20, one place for the three copies: 0 votes. A copy sees 10 and 20 only."""
    labels = torch.tensor([0, 0, 0, 1, 0, 1])
    state = knn.start(at_angles([0, 0, 0, 10, 20, 180]), labels, 2, NOT_USED, neighbours=2)
    assert state.scores[:4].tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("neighbours", [1, 3, 10, 37, 38, 39, 1000])
def test_label_shares_equal_the_loops(seed, neighbours):
    """Among them k of all other rows and beyond."""
    rows, labels = random_rows(seed)
    state = knn.start(rows, labels, 6, NOT_USED, neighbours=neighbours)
    given = np.asarray(rows), np.asarray(labels)
    expected = [oracle.label_share(i, *given, neighbours) for i in range(len(rows))]
    assert state.scores.tolist() == near(expected, abs=1e-12)
    assert state.weights.tolist() == [float(score >= 0.5) for score in expected]
    assert state.noise_rate == near((state.weights == 0).double().mean().item())


def test_label_shares_do_not_depend_on_the_tiles(monkeypatch):
    rows, labels = random_rows(1)
    whole = knn.start(rows, labels, 6, NOT_USED, neighbours=7).scores
    for elements in (1, 100, 500):
        monkeypatch.setattr(knn, "_TILE_ELEMENTS", elements)
        assert torch.equal(knn.start(rows, labels, 6, NOT_USED, neighbours=7).scores, whole)


def test_the_number_of_neighbours_is_the_median_class_size_up_to_50():
    rows, labels = random_rows(2)  # sizes of the classes that have rows: four of 5-15, one of 1
    sizes = sorted(size for size in labels.bincount().tolist() if size)
    chosen = knn.start(rows, labels, 6, NOT_USED, neighbours=sizes[(len(sizes) - 1) // 2])
    assert torch.equal(knn.start(rows, labels, 6, NOT_USED).scores, chosen.scores)
    features, labels, _ = noisy_classes(0, 0.3)  # 75 rows a class
    fifty = knn.start(features, labels, 8, NOT_USED, neighbours=50)
    assert torch.equal(knn.start(features, labels, 8, NOT_USED).scores, fifty.scores)


def test_rows_that_are_all_copies_and_rows_alone_in_their_class_are_kept():
    same = torch.ones(4, 3)
    assert knn.start(same, torch.tensor([0, 1, 0, 1]), 2, NOT_USED).weights.tolist() == [1] * 4
    copies = at_angles([0, 0, 5, 6, 7])  # class 1 is two copies of one row
    state = knn.start(copies, torch.tensor([1, 1, 0, 0, 0]), 2, NOT_USED, neighbours=2)
    assert state.scores[:2].tolist() == [1, 1]


@pytest.mark.parametrize("dim", [64, 256, 512, 1280])
def test_the_logarithm_of_the_bessel_function_is_close_to_scipys(dim):
    """Where scipy's value is a float: log I = log ive + kappa."""
    kappa = np.array([1.0, 5, 20, 50, 100, 300, 700, 1500, 5000])
    scaled = ive(dim / 2 - 1, kappa)
    kappa, scaled = kappa[scaled > 1e-290], scaled[scaled > 1e-290]
    assert len(kappa) >= 4
    ours = _von_mises_fisher.log_bessel(dim / 2 - 1, torch.from_numpy(kappa)).numpy()
    error = np.abs(ours - np.log(scaled) - kappa)
    assert error.max() < (3e-3 if dim < 512 else 4e-4)


def test_concentrations_by_hand():
    """R = 0.5, d = 5: 0.5 (5 - 0.25) / 0.75 = 19/6. R = 0.8: 0.8 (5 - 0.64) / 0.36. A class of one
    row (R = 1) and an empty one get the median; without a class of 10 rows the largest decide."""
    lengths = torch.tensor([0.5, 0.8, 1.0, 0.0], dtype=torch.float64)
    low, high = 19 / 6, 0.8 * 4.36 / 0.36
    many, few = torch.tensor([12.0, 10, 1, 0]), torch.tensor([3.0, 2, 1, 0])
    find = _von_mises_fisher.concentrations
    assert find(lengths, many, 5, is_shared=False).tolist() == near([low, high, low, low])
    assert find(lengths, many, 5, is_shared=True).tolist() == near([low] * 4)
    assert find(lengths, few, 5, is_shared=False).tolist() == near([low] * 4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("concentration", ["shared", "class"])
def test_vmf_scores_equal_the_loops(seed, passes, concentration):
    rows, labels = random_rows(seed)
    options = {"noise_rate": 0.2, "passes": passes, "concentration": concentration}
    state = prism_vmf.start(rows, labels, 6, NOT_USED, **options)
    given = np.asarray(rows), np.asarray(labels), 6, 0.2, passes, concentration == "shared"
    scores, kept = oracle.vmf(*given)
    np.testing.assert_allclose(state.scores, [exp(score) for score in scores], rtol=0, atol=1e-9)
    assert state.weights.bool().tolist() == kept


def test_vmf_with_shared_concentration_is_prism_at_that_scale():
    rows, labels = random_rows(0)
    ones = [True] * len(rows)
    given = np.asarray(rows), np.asarray(labels)
    _, kappa = oracle.concentrations(*given, ones, 6, is_shared=True)
    vmf = prism_vmf.start(rows, labels, 6, NOT_USED, noise_rate=0.2, passes=1)
    same = prism.start(rows, labels, 6, NOT_USED, noise_rate=0.2, passes=1, scale=kappa)
    torch.testing.assert_close(vmf.scores**kappa, same.scores)
    assert torch.equal(vmf.weights, same.weights)


@pytest.mark.parametrize("concentration", ["shared", "class"])
def test_vmf_scores_do_not_depend_on_the_tiles(monkeypatch, concentration):
    rows, labels = random_rows(0)
    options = {"noise_rate": 0.2, "concentration": concentration}
    whole = prism_vmf.start(rows, labels, 6, NOT_USED, **options).scores
    monkeypatch.setattr(_posterior, "_TILE", 7)
    torch.testing.assert_close(prism_vmf.start(rows, labels, 6, NOT_USED, **options).scores, whole)


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_vmf_refresh_blends_the_logarithms_of_both_spaces(progress):
    features, labels = random_rows(0)
    embeddings, _ = random_rows(9)
    state = prism_vmf.start(features, labels, 6, NOT_USED, noise_rate=0.2)
    refreshed = prism_vmf.refresh(state, embeddings, labels, 6, progress)
    ours, _ = oracle.vmf(np.asarray(features), np.asarray(labels), 6, 0.2, 2, True)
    head, _ = oracle.vmf(np.asarray(embeddings), np.asarray(labels), 6, 0.2, 2, True)
    share = 0.5 * progress
    blend = [exp((1 - share) * p + share * q) for p, q in zip(ours, head, strict=True)]
    np.testing.assert_allclose(refreshed.scores, blend, rtol=0, atol=1e-9)


def test_vmf_scores_of_many_dimensions_do_not_underflow():
    """1,280 dimensions, kappa in the thousands: P itself would be 0 for every wrong row."""
    features = torch.zeros(60, 1280)
    features[torch.arange(60), torch.arange(60) % 3] = 1
    features += 0.01 * torch.randn(60, 1280, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(60) % 3
    labels[:4] = torch.tensor([1, 2, 0, 1])
    for concentration in ("shared", "class"):
        state = prism_vmf.start(features, labels, 3, NOT_USED, concentration=concentration)
        assert (state.scores[:4] < state.scores[4:].min()).all()
        assert (state.scores[:4] > 0).all()


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


def start_curriculum(features: Tensor, labels: Tensor, **options: float) -> Tensor:
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


def test_small_classes_and_classes_of_copies_are_in_the_first_subset_as_a_whole():
    features, labels, _ = noisy_classes(0, 0.0, rows=96)  # 12 rows a class
    labels[labels == 3] = torch.tensor([3] * 11 + [4])  # now 11, and 13
    features[labels == 5] = features[5].clone()
    state = start_curriculum(features, labels)
    for number in range(8):
        is_whole = not state.extras["subset"][labels == number].any()
        assert is_whole == (number in (3, 5))
        assert bool((state.scores[labels == number] == 1).all()) == is_whole
    everything = start_curriculum(features, labels, smallest_class=14)
    assert not everything.extras["subset"].any()


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
