"""Contrastive forms: the Euclidean one, and the order in which a batch meets its memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.losses import contrastive, memory_contrastive
from pipeline.program import memory as banks
from pipeline.program.batch import Batch
from pipeline.program.memory import Memory

from . import pairs, test_library
from .examples import at_angles, batch_at, plain, random_batch
from .test_library import batch_of, gradient, raw_rows, their_contrastive

SEEDS = range(4)
WEIGHTS = ("ones", "binary", "fractional")
near = pytest.approx
library = test_library.library
NEAR = (2 - 3**0.5) ** 0.5  # the distance at 30 degrees


# The Euclidean form


def test_the_euclidean_form_by_hand():
    """Angles 0, 60, 90, 180, labels 0, 0, 1, 1: positives D01 = 1, D23 = sqrt 2. Negatives: D12 =
    0.518 is below 1, D02 = sqrt 2, D03 = 2 and D13 = sqrt 3 are not: 1 - 0.518 alone counts."""
    batch = batch_at([0, 60, 90, 180], [0, 0, 1, 1])
    value = contrastive.loss({}, batch, distance="euclidean")
    assert value.item() == near((1 + 2**0.5) / 2 + 1 - NEAR, abs=1e-12)
    value = contrastive.loss(
        {}, batch, distance="euclidean", positive_margin=1.2, negative_margin=1.5
    )
    expected = 2**0.5 - 1.2 + (1.5 - NEAR + 1.5 - 2**0.5) / 2
    assert value.item() == near(expected, abs=1e-12)


def test_the_cosine_form_of_the_same_batch_by_hand():
    """S01 = 0.5, S23 = 0: both ways 2 (0.5 + 1). Above 0.5: S12 = 0.866, both ways. By 4 rows."""
    value = contrastive.loss({}, batch_at([0, 60, 90, 180], [0, 0, 1, 1]))
    assert value.item() == near((2 * 1.5 + 2 * 0.75**0.5) / 4, abs=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_euclidean_form_equals_the_loops(seed, weights):
    batch = random_batch(seed, weights=weights)
    for margins in ((0.0, 1.0), (0.6, 1.4)):
        value = contrastive.loss(
            {}, batch, distance="euclidean", positive_margin=margins[0], negative_margin=margins[1]
        )
        expected = pairs.contrastive_euclidean(plain(batch), *margins)
        assert value.item() == near(expected, abs=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("margins", [(0.0, 1.0), (0.3, 0.6)])
def test_the_euclidean_form_is_the_librarys_default_contrastive_loss(library, seed, margins):
    vectors, labels = raw_rows(seed)
    theirs = library.losses.ContrastiveLoss(pos_margin=margins[0], neg_margin=margins[1])
    expected = theirs(vectors, labels)
    value = contrastive.loss(
        {},
        batch_of(vectors, labels),
        distance="euclidean",
        positive_margin=margins[0],
        negative_margin=margins[1],
    )
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(
        gradient(value, vectors), gradient(expected, vectors), rtol=1e-6, atol=1e-8
    )


def test_copies_have_a_finite_gradient_in_the_euclidean_form():
    batch = batch_at([20, 20, 20, 20], [0, 0, 1, 1])
    embeddings = batch.embeddings.requires_grad_()
    value = contrastive.loss({}, batch, distance="euclidean")
    assert value.item() == near(1)
    assert gradient(value, embeddings).isfinite().all()


# The batch and its memory


def one_row(*stored: tuple[float, int, int, float]) -> Batch:
    """Sample 5 at 0 degrees of label 0; memory slots of (degrees, label, sample, weight)."""
    degrees, labels, rows, weights = zip(*stored, strict=True)
    memory = Memory(
        at_angles(degrees),
        torch.tensor(labels),
        torch.tensor(rows),
        torch.tensor(weights, dtype=torch.float64),
        torch.tensor(0),
    )
    return batch_at([0], [0])._replace(rows=torch.tensor([5]), memory=memory)


@pytest.mark.parametrize("order", ["loss-first", "enqueue-first"])
def test_a_sample_never_meets_its_own_stored_copies(order):
    """Two old copies of sample 5 at 180 degrees, each of which would cost 2."""
    batch = one_row((180, 0, 5, 1.0), (180, 0, 5, 1.0))
    assert memory_contrastive.loss({}, batch, order=order).item() == 0


def test_with_enqueue_first_the_batch_meets_itself_once_more_as_a_constant():
    """Rows at 0 and 60 degrees of label 0: in the batch 2 (1 - 0.5), from the memory the same again
    times 3; an older copy of the second row at 180 degrees is replaced. By 2 rows. The gradient of
    the memory's part reaches each row as the anchor only: (1 + 3 / 2) times that of the batch."""
    batch = batch_at([0, 60], [0, 0])
    memory = one_row((180, 0, 1, 1.0)).memory
    embeddings = batch.embeddings.requires_grad_()
    given = batch._replace(embeddings=embeddings, memory=memory)
    value = memory_contrastive.loss({}, given, memory_weight=3.0, order="enqueue-first")
    assert value.item() == near((1 + 3) / 2, abs=1e-12)
    alone = contrastive.loss({}, given)
    np.testing.assert_allclose(gradient(value, embeddings), 2.5 * gradient(alone, embeddings))


@pytest.mark.parametrize("seed", SEEDS)
def test_enqueue_first_has_the_value_and_the_gradient_of_their_cross_batch_memory(library, seed):
    """Theirs is the memory's part alone, the batch in it: ours less the batch against itself. Their
    gradient at the pairs inside the batch is that of the anchor, as ours."""
    theirs = library.losses.CrossBatchMemory(
        their_contrastive(library, 0.0), embedding_size=3, memory_size=40
    )
    memory = banks.empty(40, 3, torch.device("cpu"))
    memory = memory._replace(embeddings=memory.embeddings.double(), weights=memory.weights.double())
    for step in range(4):
        vectors, labels = raw_rows(10 * seed + step, rows=8)
        # Leaves of unit norm: they normalise once more, and only what is along the sphere remains.
        rows = functional.normalize(vectors.detach(), dim=1).requires_grad_()
        batch = batch_of(rows, labels, at=8 * step)._replace(memory=memory)
        both = memory_contrastive.loss({}, batch, threshold=0.0, order="enqueue-first")
        value = both - contrastive.loss({}, batch, threshold=0.0)
        # Their memory keeps float32 unless told: give it what ours has.
        theirs.embedding_memory = theirs.embedding_memory.double()
        expected = theirs(rows, labels) / 8
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(gradient(value, rows), gradient(expected, rows))
        memory = banks.enqueue(memory, batch.embeddings, labels, batch.rows, batch.weights)
