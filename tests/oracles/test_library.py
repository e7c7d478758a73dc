"""Agreement with pytorch-metric-learning, where its definitions are ours.

It normalises embeddings itself, so gradients are compared at the raw vectors. Its contrastive loss
adds S - threshold for a negative where ours adds S: equal gradients at any threshold, equal values
at threshold 0. It divides differently, so its terms are summed and divided here.
"""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.losses import contrastive, memory_contrastive, multi_similarity, proxy_anchor
from pipeline.measures import metrics
from pipeline.program import memory as banks
from pipeline.program.batch import Batch

SEEDS = range(3)


@pytest.fixture(scope="module")
def library() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's own imports
        import pytorch_metric_learning.distances
        import pytorch_metric_learning.losses
        import pytorch_metric_learning.miners
        import pytorch_metric_learning.reducers
        import pytorch_metric_learning.utils.accuracy_calculator
    return pytorch_metric_learning


def raw_rows(seed: int, rows: int = 16, num_classes: int = 4) -> tuple[Tensor, Tensor]:
    """Vectors (B, 3) float64 of any length that need a gradient, and labels."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(rows, 3, dtype=torch.float64, generator=generator)
    labels = torch.randint(num_classes, (rows,), generator=generator)
    return vectors.requires_grad_(), labels


def batch_of(vectors: Tensor, labels: Tensor, at: int = 0) -> Batch:
    index = torch.arange(at, at + len(labels))
    weights = torch.ones(len(labels), dtype=vectors.dtype)
    return Batch(functional.normalize(vectors, dim=1), labels, index, weights)


def gradient(value: Tensor, by: Tensor) -> Tensor:
    return torch.autograd.grad(value, by)[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_proxy_anchor_has_their_value_and_gradients(library, seed):
    vectors, labels = raw_rows(seed, num_classes=5)  # class 5 has no row
    theirs = library.losses.ProxyAnchorLoss(6, 3, margin=0.1, alpha=32).double()
    parameters = {"proxies": theirs.proxies.detach().clone().requires_grad_()}
    expected = theirs(vectors, labels)
    value = proxy_anchor.loss(parameters, batch_of(vectors, labels))
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(gradient(value, vectors), gradient(theirs(vectors, labels), vectors))
    value = proxy_anchor.loss(parameters, batch_of(vectors, labels))
    torch.testing.assert_close(
        gradient(value, parameters["proxies"]), gradient(expected, theirs.proxies)
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_multi_similarity_with_mining_has_their_value_and_gradient(library, seed):
    vectors, labels = raw_rows(seed, num_classes=6)
    miner = library.miners.MultiSimilarityMiner(epsilon=0.1)
    theirs = library.losses.MultiSimilarityLoss(alpha=2, beta=40, base=0.5)
    expected = theirs(vectors, labels, miner(vectors, labels))
    value = multi_similarity.loss({}, batch_of(vectors, labels))
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(gradient(value, vectors), gradient(expected, vectors))


@pytest.mark.parametrize("seed", SEEDS)
def test_multi_similarity_divides_by_the_batch_where_anchors_are_skipped(library, seed):
    """Six rows are alone in their class, so they are no anchors; theirs is a mean over all rows."""
    vectors, _ = raw_rows(seed)
    labels = torch.tensor([0] * 5 + [1] * 5 + [2, 3, 4, 5, 6, 7])
    for beta, base in ((40, 0.5), (50, 1.0)):
        miner = library.miners.MultiSimilarityMiner(epsilon=0.1)
        theirs = library.losses.MultiSimilarityLoss(alpha=2, beta=beta, base=base)
        expected = theirs(vectors, labels, miner(vectors, labels))
        value = multi_similarity.loss({}, batch_of(vectors, labels), beta=beta, base=base)
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_contrastive_has_their_gradient_and_at_threshold_zero_their_value(library, seed, threshold):
    vectors, labels = raw_rows(seed)
    expected = their_contrastive(library, threshold)(vectors, labels) / len(labels)
    value = contrastive.loss({}, batch_of(vectors, labels), threshold=threshold)
    torch.testing.assert_close(gradient(value, vectors), gradient(expected, vectors))
    if threshold == 0:
        value = contrastive.loss({}, batch_of(vectors, labels), threshold=threshold)
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_memory_contrastive_has_the_value_of_their_cross_batch_memory(library, seed):
    """They store the batch first and compare it with the whole queue: the batch against itself and
    against the rows of earlier steps, as ours. (Their gradient lacks the partner's side.)"""
    theirs = library.losses.CrossBatchMemory(
        their_contrastive(library, 0.0), embedding_size=3, memory_size=40
    )
    memory = banks.empty(40, 3, torch.device("cpu"))
    memory = memory._replace(embeddings=memory.embeddings.double(), weights=memory.weights.double())
    for step in range(4):
        vectors, labels = raw_rows(10 * seed + step, rows=8)
        batch = batch_of(vectors, labels, at=8 * step)._replace(memory=memory)
        value = memory_contrastive.loss({}, batch, threshold=0.0)
        # Their memory keeps float32 unless told: give it what ours has.
        theirs.embedding_memory = theirs.embedding_memory.double()
        expected = theirs(functional.normalize(vectors.detach(), dim=1), labels) / 8
        torch.testing.assert_close(value, expected)
        memory = banks.enqueue(memory, batch.embeddings, labels, batch.rows, batch.weights)


def their_contrastive(library: ModuleType, threshold: float) -> torch.nn.Module:
    return library.losses.ContrastiveLoss(
        pos_margin=1,
        neg_margin=threshold,
        distance=library.distances.CosineSimilarity(),
        reducer=library.reducers.SumReducer(),
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("has_gallery", [False, True])
def test_the_metrics_are_those_of_their_accuracy_calculator(library, seed, has_gallery):
    generator = torch.Generator().manual_seed(seed)
    queries = functional.normalize(torch.randn(40, 8, generator=generator), dim=1)
    gallery = functional.normalize(torch.randn(70, 8, generator=generator), dim=1)
    asked = torch.arange(40) % 7
    held = torch.randint(7, (70,), generator=generator)
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    calculator = library.utils.accuracy_calculator.AccuracyCalculator(
        include=names, k="max_bin_count", device=torch.device("cpu")
    )
    if has_gallery:
        expected = calculator.get_accuracy(queries, asked, gallery, held)
        found = metrics.evaluate(queries, asked, gallery, held, recall_at=(1,))
    else:
        expected = calculator.get_accuracy(queries, asked)
        found = metrics.evaluate(
            queries, asked, queries, asked, recall_at=(1,), own_rows=torch.arange(40)
        )
    ours = (found.precision_at_1, found.r_precision, found.map_at_r)
    np.testing.assert_allclose(ours, [expected[name] for name in names], atol=1e-9)
