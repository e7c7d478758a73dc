"""The memory bank: embeddings outside the batch that pair losses and selections compare with.

Two forms. `full` holds every training row, embedded anew each epoch: exact up to the drift of one
epoch, possible because the backbone is frozen. The queue (`empty`, then `enqueue` each step) is the
published form of XBM (Wang et al., CVPR 2020, arXiv 1912.06798) and PRISM (Liu et al., CVPR 2021,
arXiv 2103.16047). Departure: the ring wraps truly, where the published code overwrites its last
slots and leaves stale ones behind.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Memory(NamedTuple):
    """A bank of M slots.

    Attributes:
        embeddings: (M, D) float, unit norm, detached.
        labels: (M,) int64.
        rows: (M,) int64 row numbers in the training split, -1 = empty slot.
        weights: (M,) float in [0, 1], 0 = the slot counts as empty.
        pointer: () int64, the slot that the next row goes to.
    """

    embeddings: Tensor
    labels: Tensor
    rows: Tensor
    weights: Tensor
    pointer: Tensor


def full(embeddings: Tensor, labels: Tensor, weights: Tensor) -> Memory:
    """Every training row as a memory: slot i is row i."""
    rows = torch.arange(len(labels), device=labels.device)
    return Memory(embeddings.detach(), labels, rows, weights, torch.zeros_like(rows[0]))


def empty(size: int, embedding_dim: int, device: torch.device) -> Memory:
    """A queue of `size` empty slots."""
    slots = torch.zeros(size, dtype=torch.int64, device=device)
    return Memory(
        embeddings=torch.zeros(size, embedding_dim, device=device),
        labels=slots,
        rows=slots - 1,
        weights=torch.zeros(size, device=device),
        pointer=torch.zeros((), dtype=torch.int64, device=device),
    )


def enqueue(
    memory: Memory, embeddings: Tensor, labels: Tensor, rows: Tensor, weights: Tensor
) -> Memory:
    """Puts the rows of weight above 0 into the next slots, oldest slots first.

    A queue smaller than the batch keeps the batch's last rows.

    Args:
        memory: M slots.
        embeddings: (B, D).
        labels: (B,) int64.
        rows: (B,) int64 row numbers.
        weights: (B,); rows of weight 0 are not stored.
    """
    size = memory.labels.shape[0]
    chosen = weights > 0  # (B,)
    order = chosen.cumsum(0) - 1  # position among the chosen rows
    count = chosen.sum()
    is_stored = chosen & (order >= count - size)
    # Rows that are not stored go to one spare slot behind the ring: shapes stay fixed.
    slot = torch.where(is_stored, (memory.pointer + order) % size, size)  # (B,)

    def put(ring: Tensor, values: Tensor) -> Tensor:
        spare = torch.cat([ring, ring[:1]])
        return spare.index_copy(0, slot, values.detach().to(ring.dtype))[:size]

    return Memory(
        embeddings=put(memory.embeddings, embeddings),
        labels=put(memory.labels, labels),
        rows=put(memory.rows, rows),
        weights=put(memory.weights, weights),
        pointer=(memory.pointer + count) % size,
    )
