"""Retrieval metrics against brute force: ties, copies, lone queries, another gallery."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.measures import metrics, nearest

from . import retrieval

SEEDS = range(5)
near = pytest.approx


def signs(rows: int, generator: torch.Generator) -> Tensor:
    """Unit vectors of four entries +-1/2: cosines are -1, -1/2, 0, 1/2, 1 exactly; many ties."""
    return torch.randint(2, (rows, 4), generator=generator).float() - 0.5


def directions(rows: int, generator: torch.Generator) -> Tensor:
    return functional.normalize(torch.randn(rows, 6, generator=generator), dim=1)


def assert_equal(found: metrics.Retrieval, expected: retrieval.Scores, num_queries: int) -> None:
    assert found.recall == near(expected.recall, abs=1e-12)
    assert found.r_precision == near(expected.r_precision, abs=1e-12)
    assert found.map_at_r == near(expected.map_at_r, abs=1e-12)
    assert found.map_at == near(expected.map_at, abs=1e-12)
    assert found.lone_queries == expected.lone
    assert found.num_queries == num_queries - expected.lone


@pytest.mark.parametrize("make", [signs, directions])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("num_classes", [3, 25])
def test_every_row_against_all_others_equals_brute_force(make, seed, num_classes):
    generator = torch.Generator().manual_seed(seed)
    rows = make(40, generator)
    labels = torch.randint(num_classes, (40,), generator=generator)
    ks = (1, 2, 4, 8, 100)
    own = torch.arange(40)
    found = metrics.evaluate(rows, labels, rows, labels, recall_at=ks, map_at=ks, own_rows=own)
    names = labels.tolist()
    cosines = (rows @ rows.T).numpy()
    expected = retrieval.evaluate(cosines, names, names, ks, own.tolist(), map_at=ks)
    assert_equal(found, expected, 40)


@pytest.mark.parametrize("make", [signs, directions])
@pytest.mark.parametrize("seed", SEEDS)
def test_queries_against_another_gallery_equal_brute_force(make, seed):
    """Labels 0..14 for queries and 5..19 in the gallery: some queries have no right item."""
    generator = torch.Generator().manual_seed(seed)
    queries, gallery = make(30, generator), make(45, generator)
    asked = torch.randint(15, (30,), generator=generator)
    held = torch.randint(5, 20, (45,), generator=generator)
    ks = (1, 10)
    found = metrics.evaluate(queries, asked, gallery, held, recall_at=ks, map_at=(7,))
    similarity = (queries @ gallery.T).numpy()
    expected = retrieval.evaluate(similarity, asked.tolist(), held.tolist(), ks, map_at=(7,))
    assert_equal(found, expected, 30)


@pytest.mark.parametrize("seed", SEEDS)
def test_some_rows_of_the_gallery_as_queries_equal_brute_force(seed):
    generator = torch.Generator().manual_seed(seed)
    rows, labels = signs(40, generator), torch.randint(6, (40,), generator=generator)
    own = torch.randperm(40, generator=generator)[:13]
    found = metrics.evaluate(rows[own], labels[own], rows, labels, recall_at=(1, 3), own_rows=own)
    similarity = (rows[own] @ rows.T).numpy()
    expected = retrieval.evaluate(
        similarity, labels[own].tolist(), labels.tolist(), (1, 3), own.tolist()
    )
    assert_equal(found, expected, 13)


@pytest.mark.parametrize("k", [1, 2, 5, 11, 12])
def test_the_nearest_rows_equal_a_full_sort(k):
    generator = torch.Generator().manual_seed(k)
    queries, gallery = signs(9, generator), signs(12, generator)
    found = nearest.top_k(nearest.cosines(queries, gallery), k)
    similarity = (queries @ gallery.T).numpy()
    for q in range(9):
        assert found[q].tolist() == retrieval.ranking(similarity[q], None)[:k]


@pytest.mark.parametrize("seed", SEEDS)
def test_counting_ties_as_hits_gives_never_less_and_with_copies_of_wrong_labels_more(seed):
    """Every third row is a copy of another row, whose label may be another one."""
    generator = torch.Generator().manual_seed(seed)
    rows = directions(60, generator)
    rows[::3] = rows[torch.randint(60, (20,), generator=generator)]
    labels = torch.arange(60) % 4
    first = (rows[:, None] == rows).all(dim=2).int().argmax(dim=1)
    cosines = (rows @ rows.T)[
        :, first
    ].numpy()  # copies have equal cosines, whatever the product rounded
    ks = (1, 2, 4)
    found = metrics.evaluate(
        rows, labels, rows, labels, recall_at=ks, own_rows=torch.arange(60)
    ).recall
    optimistic = dict.fromkeys(ks, 0.0)
    for q in range(60):
        others = [row for row in range(60) if row != q]
        is_right = [bool(labels[row] == labels[q]) for row in others]
        values = [float(cosines[q, row]) for row in others]
        for k in ks:
            optimistic[k] += retrieval.optimistic_recall(is_right, values, k) / 60
    assert all(optimistic[k] >= found[k] - 1e-12 for k in ks)
    assert optimistic[1] > found[1]
