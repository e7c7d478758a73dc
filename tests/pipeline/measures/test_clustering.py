"""K-means, NMI and AMI: by hand, by their definitions, and as scikit-learn has them."""

from __future__ import annotations

from itertools import permutations
from math import log

import numpy as np
import pytest
import torch

from pipeline.measures import k_means as module
from pipeline.measures.agreement import agreement
from pipeline.measures.k_means import k_means

near = pytest.approx


def clouds(classes: int, each: int) -> tuple[torch.Tensor, np.ndarray]:
    """Rows far closer to their class's centre than the centres are to each other."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(classes * each) % classes
    centres = 10 * torch.eye(classes)
    return centres[labels] + 0.1 * torch.randn(len(labels), classes, generator=generator), (
        labels.numpy()
    )


def mutual_information(labels: np.ndarray, clusters: np.ndarray) -> float:
    total, value = len(labels), 0.0
    for u in set(labels):
        for v in set(clusters):
            n = int(((labels == u) & (clusters == v)).sum())
            if n:
                a, b = int((labels == u).sum()), int((clusters == v).sum())
                value += n / total * log(total * n / (a * b))
    return value


def entropy(labels: np.ndarray) -> float:
    return mutual_information(labels, labels)


@pytest.mark.parametrize("seed", range(5))
def test_separate_clouds_are_found_from_any_start(seed):
    rows, labels = clouds(8, 20)
    clusters = k_means(rows, 8, seed=seed).numpy()
    found = agreement(labels, clusters, 8)
    assert (found.nmi, found.ami) == (near(1), near(1))


def test_the_same_seed_gives_the_same_clusters_and_tiles_do_not_matter(monkeypatch):
    rows = torch.randn(200, 6, generator=torch.Generator().manual_seed(1))
    first = k_means(rows, 9, seed=3)
    assert torch.equal(first, k_means(rows, 9, seed=3))
    assert not torch.equal(first, k_means(rows, 9, seed=4))
    monkeypatch.setattr(module, "_TILE_BYTES", 1000)
    assert torch.equal(first, k_means(rows, 9, seed=3))


def test_every_row_is_with_its_nearest_centre_after_the_last_iteration():
    rows = torch.randn(150, 4, generator=torch.Generator().manual_seed(2))
    place = k_means(rows, 5, seed=0, iterations=200)
    centres = torch.stack([rows[place == cluster].mean(dim=0) for cluster in range(5)])
    assert torch.equal(torch.cdist(rows, centres).argmin(dim=1), place)


def test_one_cluster_as_many_as_rows_and_more_than_different_rows():
    rows = torch.randn(12, 3, generator=torch.Generator().manual_seed(3))
    assert k_means(rows, 1, seed=0).unique().tolist() == [0]
    assert len(k_means(rows, 12, seed=0).unique()) == 12
    assert len(k_means(rows[:1].expand(6, 3), 4, seed=0).unique()) == 1


def test_agreement_by_its_definition_with_chance_as_the_mean_over_all_permutations():
    labels, clusters = np.array([0, 0, 0, 1, 1, 2]), np.array([5, 5, 7, 7, 7, 5])
    found = agreement(labels, clusters, 2)
    mutual, mean = mutual_information(labels, clusters), (entropy(labels) + entropy(clusters)) / 2
    chance = np.mean(
        [mutual_information(labels, np.array(order)) for order in permutations(clusters)]
    )
    assert found.nmi == near(mutual / mean, abs=1e-12)
    assert found.ami == near((mutual - chance) / (mean - chance), abs=1e-12)


def test_clusters_drawn_at_random_have_an_nmi_but_no_ami():
    generator = np.random.default_rng(0)
    labels, clusters = np.arange(600) % 100, generator.integers(100, size=600)
    found = agreement(labels, clusters, 100)
    assert found.nmi > 0.5
    assert abs(found.ami) < 0.05


def test_names_of_classes_and_clusters_do_not_matter():
    generator = np.random.default_rng(1)
    labels, clusters = generator.integers(5, size=80), generator.integers(7, size=80)
    other = agreement(2**40 - 3 * labels, 10 - clusters, 7)
    assert other.nmi == near(agreement(labels, clusters, 7).nmi, abs=1e-12)
    assert other.ami == near(agreement(labels, clusters, 7).ami, abs=1e-12)


EDGES = {
    "random": (np.random.default_rng(2).integers(6, size=300), np.arange(300) % 9),
    "equal": (np.arange(20) % 4, np.arange(20) % 4),
    "one class": (np.zeros(9, int), np.arange(9) % 3),
    "one cluster": (np.arange(9) % 3, np.zeros(9, int)),
    "one of each": (np.zeros(9, int), np.zeros(9, int)),
    "every row alone": (np.arange(9), np.arange(9)),
    "classes of one row": (np.arange(9), np.arange(9) % 2),
    "uneven": (np.arange(400).astype(float) ** 0.5 // 1, np.arange(400) % 20),
}


@pytest.mark.parametrize("name", EDGES)
def test_agreement_is_that_of_scikit_learn(name):
    peer = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    labels, clusters = (each.astype(np.int64) for each in EDGES[name])
    found = agreement(labels, clusters, 1)
    assert found.nmi == near(peer.normalized_mutual_info_score(labels, clusters), abs=1e-9)
    assert found.ami == near(peer.adjusted_mutual_info_score(labels, clusters), abs=1e-9)
