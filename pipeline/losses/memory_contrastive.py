"""Contrastive loss against the batch and against a memory of all rows (XBM, MCL).

    L = L_contrastive(batch, batch) + memory_weight * L_contrastive(batch, memory)

with L_contrastive as in `contrastive`, both divided by the number of batch rows that count.

Source: Wang et al., Cross-Batch Memory, CVPR 2020, arXiv 1912.06798 (from memory), and its code;
the main loss of PRISM (Liu et al., CVPR 2021, arXiv 2103.16047, eq. 8-11).
Departures: the memory holds every training row, embedded anew each epoch (`bank="full"`, our
choice: the backbone is frozen). `bank="queue"` is the published queue. A sample never meets its own
stored copy, by row number. Rows enter the queue after the loss, as in PRISM's code; XBM's enters
them before, so that they meet each other once more as constants: `order="enqueue-first"`. There
they take the place of their older copies, and the slots that they will overwrite count once more
(our choice, so that it is right for both banks). XBM's wait for some steps is left out: an empty
slot weighs 0.
"""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor

from pipeline.losses import _pairs
from pipeline.program.batch import Batch
from pipeline.program.memory import Memory

SAMPLER = "balanced"
BATCH_SIZE = 64
MEMORY = True


def loss(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    threshold: Annotated[float, "at least -1, at most 1"] = 0.5,
    memory_weight: Annotated[float, "at least 0"] = 1.0,
    divisor: Literal["kept", "batch"] = "kept",
    order: Literal["loss-first", "enqueue-first"] = "loss-first",
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: none are used.
        batch: B rows with a memory of M slots; empty slots weigh 0.
        threshold: cosine in [-1, 1] above which a negative pair counts ("lambda").
        memory_weight: weight of the memory's part, at least 0.
        divisor: "kept" or "batch", what the sums are divided by.
        order: "loss-first", the memory is that of earlier steps, or "enqueue-first", the batch is
            part of it.

    Returns:
        () float; 0, with a gradient of 0, where no pair counts.
    """
    terms = _pairs.contrastive_terms(_pairs.pairs_of(batch, batch), threshold)
    if batch.memory is not None:
        stored: list[Batch | Memory] = [batch.memory]
        if order == "enqueue-first":
            stored = _entered(batch.memory, batch)
        for references in stored:
            pairs = _pairs.pairs_of(batch, references)
            terms = terms + memory_weight * _pairs.contrastive_terms(pairs, threshold)
    return _pairs.anchor_mean(terms, batch.weights, divisor=divisor)


def _entered(memory: Memory, batch: Batch) -> list[Batch | Memory]:
    """Puts the batch, as a constant, beside the memory without older copies of its rows."""
    is_copy = (memory.rows[:, None] == batch.rows[None, :]) & (batch.weights > 0)  # (M, B)
    older = memory._replace(weights=memory.weights * ~is_copy.any(dim=1))
    return [older, batch._replace(embeddings=batch.embeddings.detach())]
