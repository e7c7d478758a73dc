"""The class tree against double sums, merging by brute force, SciPy, and its own definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from pipeline.losses import _class_tree

from . import class_tree
from .examples import random_weights, unit_rows
from .pairs import Rows

SEEDS = range(4)
WEIGHTS = ("ones", "binary", "fractional")
LINKAGES = ("average", "single")
near = pytest.approx


def random_rows(seed: int, weights: str, *, rows: int = 30, classes: int = 6) -> Rows:
    """Classes of unlike sizes around unlike centres; class 0 has one row, which counts."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(1, classes, (rows,), generator=generator)
    labels[:classes] = torch.arange(classes)
    kept = random_weights(rows, weights, generator)
    kept[:classes] = 1
    centres = unit_rows(classes, 4, generator)
    vectors = centres[labels] + 0.6 * unit_rows(rows, 4, generator)
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    return Rows(vectors.numpy(), labels.numpy(), np.arange(rows), kept.numpy())


def describe(rows: Rows, classes: int = 6) -> _class_tree.Classes:
    given = (torch.from_numpy(each) for each in (rows.embeddings, rows.labels, rows.weights))
    return _class_tree.describe(*given, classes)


def random_distances(seed: int, classes: int) -> np.ndarray:
    distance = np.random.default_rng(seed).uniform(0.1, 4, (classes, classes))
    distance = np.minimum(distance, distance.T)
    np.fill_diagonal(distance, 0)
    return distance


def partition(nodes: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(nodes == each).tolist()) for each in np.unique(nodes)}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_closed_forms_equal_the_double_sums(seed, weights):
    rows = random_rows(seed, weights)
    classes = describe(rows)
    distance = _class_tree.distances(classes.means)
    for p in range(6):
        for q in set(range(6)) - {p}:
            assert distance[p, q].item() == near(class_tree.class_distance(rows, p, q), abs=1e-12)
        expected = class_tree.spread(rows, p)
        found = classes.spread[p].item()
        assert np.isnan(found) if expected is None else found == near(expected, abs=1e-12)
    heights = _class_tree.thresholds(classes.spread, 5)
    assert heights.tolist() == near(class_tree.thresholds(rows, 5), abs=1e-12)


def test_a_class_of_one_row_has_no_spread_and_one_without_rows_no_size():
    rows = Rows(np.eye(3), np.array([0, 0, 2]), np.arange(3), np.array([1.0, 1e-3, 0.3]))
    classes = describe(rows, 4)
    assert classes.spread[0] == near(2.0)
    assert classes.spread[1:].isnan().all()
    assert classes.sizes.tolist() == near([1.001, 0, 0.3, 0])
    assert not classes.means[[1, 3]].any()


def test_with_no_spread_at_all_the_levels_begin_at_0():
    heights = _class_tree.thresholds(torch.full((3,), torch.nan), 4)
    assert heights.tolist() == [0, 1, 2, 3, 4]


def test_distances_are_symmetric_to_the_last_bit_across_tiles(monkeypatch):
    monkeypatch.setattr(_class_tree, "_TILE", 7)
    means = torch.randn(33, 19, generator=torch.Generator().manual_seed(0)) / 10
    distance = _class_tree.distances(means)
    assert torch.equal(distance, distance.T)
    torch.testing.assert_close(distance, 2 - 2 * means @ means.T)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("by", LINKAGES)
def test_classes_of_one_size_merge_as_in_scipy(seed, by):
    distance = random_distances(seed, 40)
    expected = linkage(squareform(distance), method=by)
    merged = _class_tree.merge(distance.copy(), np.full(40, 3.0), by)
    assert sorted(merged.height) == near(expected[:, 2].tolist(), abs=1e-12)
    for height in (0.5, 1.0, 1.5):
        nodes = _class_tree.cut(merged, np.array([height, 4]), 40)[:, 0]
        assert partition(nodes) == partition(fcluster(expected, height, "distance"))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("by", LINKAGES)
def test_classes_of_unlike_sizes_merge_as_by_brute_force(seed, by):
    distance = random_distances(seed, 14)
    sizes = np.random.default_rng(seed).uniform(0.2, 30, 14)
    merged = _class_tree.merge(distance.copy(), sizes, by)
    expected = class_tree.mergers(distance, sizes.tolist(), by)
    assert sorted(merged.height) == near([height for height, _, _ in expected], abs=1e-12)
    heights = np.linspace(0.3, 4, 9)
    nodes = torch.from_numpy(_class_tree.cut(merged, heights, 14))
    found = heights[_class_tree.meeting_levels(nodes)] * (1 - np.eye(14))
    assert (found == class_tree.tree_distance(distance, sizes.tolist(), heights, by)).all()


def test_average_linkage_equals_the_distance_of_the_merged_sets_of_rows():
    """The paper's d between merged classes is the mean over their rows, so a tree of classes cut
    anywhere merges at the d of the two relabelled sets."""
    rows = random_rows(1, "fractional")
    classes = describe(rows)
    distance = _class_tree.distances(classes.means).numpy()
    merged = _class_tree.merge(distance.copy(), classes.sizes.numpy(), "average")
    expected = class_tree.mergers(distance, classes.sizes.tolist(), "average")
    for (_, one, other), height in zip(expected, sorted(merged.height), strict=True):
        labels = np.select([np.isin(rows.labels, [*s]) for s in (one, other)], [0, 1], 2)
        joined = class_tree.class_distance(rows._replace(labels=labels), 0, 1)
        assert joined == near(height, abs=1e-12)


@pytest.mark.parametrize("by", LINKAGES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ties_and_sizes_far_apart_do_not_lead_a_chain_in_circles(by, dtype):
    generator = np.random.default_rng(0)
    distance = generator.integers(1, 4, (60, 60)).astype(dtype) / 3
    distance = np.minimum(distance, distance.T)
    sizes = 10.0 ** generator.integers(-9, 4, 60)
    merged = _class_tree.merge(distance.copy(), sizes, by)
    assert len(merged.height) == 59
    assert np.isfinite(merged.height).all()
    assert len(partition(_class_tree.cut(merged, np.array([2, 4]), 60)[:, 0])) == 1


@pytest.mark.parametrize("by", LINKAGES)
def test_the_levels_at_which_classes_meet_are_symmetric_and_ultrametric(by):
    merged = _class_tree.merge(random_distances(5, 25), np.arange(1.0, 26), by)
    nodes = torch.from_numpy(_class_tree.cut(merged, np.linspace(0.1, 4, 17), 25))
    level = _class_tree.meeting_levels(nodes)
    assert torch.equal(level, level.T)
    by_way_of = torch.maximum(level[:, :, None], level[None, :, :]).amin(dim=1)
    assert (level <= by_way_of).all()
    assert len(level.unique()) > 2


def test_a_merger_at_a_threshold_comes_at_the_next_level_and_the_last_level_takes_all():
    merged = _class_tree.Mergers(np.array([0, 1]), np.array([1, 2]), np.array([1.0, 4.5]))
    nodes = torch.from_numpy(_class_tree.cut(merged, np.array([1.0, 2.0, 4.0]), 4))
    level = _class_tree.meeting_levels(nodes)
    assert level.tolist() == [[0, 1, 2, 2], [1, 0, 2, 2], [2, 2, 0, 2], [2, 2, 2, 0]]


@pytest.mark.parametrize("classes", [0, 1])
def test_no_class_and_one_class_have_no_mergers(classes):
    merged = _class_tree.merge(np.zeros((classes, classes)), np.ones(classes), "average")
    assert _class_tree.cut(merged, np.array([1.0, 4.0]), 2)[:, 1].tolist() == [0, 0]
    assert _class_tree.nearest(torch.zeros(classes, classes), 3).shape == (classes, 0)
