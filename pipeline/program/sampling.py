"""Which rows make up which batch: whole epochs as tensors of row numbers, drawn ahead.

Both samplers show every row at least once per epoch, use their own generator and draw another order
each time. A place that cannot be filled holds `ABSENT`.
"""

from __future__ import annotations

import torch
from torch import Tensor

ABSENT = -1


def shuffle(labels: Tensor, batch_size: int, generator: torch.Generator) -> Tensor:
    """Cuts one random order of all rows into batches.

    The last batch is filled up with the first rows of the same order, so no batch holds a row
    twice.

    Args:
        labels: (N,) int64 on the CPU; only their number matters.
        batch_size: B; lowered to N where there are fewer rows.
        generator: on the CPU.

    Returns:
        (steps, B) int64 row numbers.
    """
    batch_size = min(batch_size, len(labels))
    order = torch.randperm(len(labels), generator=generator)
    return _cut(order, batch_size)


def balanced(
    labels: Tensor, batch_size: int, generator: torch.Generator, *, rows_per_class: int
) -> Tensor:
    """Fills batches with groups of K rows of one class: P = batch_size // K groups each.

    Every class is shuffled and cut into groups of K; the last group is filled up with rows of the
    same class that are in other groups. A class with fewer than K rows has one group with absent
    places instead of copies. The groups of a class are spread evenly over the epoch, so a class
    rarely meets itself in one batch.

    Args:
        labels: (N,) int64 on the CPU.
        batch_size: B, at least K.
        generator: on the CPU.
        rows_per_class: K, at least 1.

    Returns:
        (steps, P * K) int64 row numbers or `ABSENT`.
    """
    groups, classes = _groups(labels, rows_per_class, generator)  # (G, K), (G,)
    sizes = torch.bincount(classes)
    position = torch.arange(len(classes)) - (sizes.cumsum(0) - sizes)[classes]
    time = (position + torch.rand(len(classes), generator=generator)) / sizes[classes]
    groups_per_batch = min(batch_size // rows_per_class, len(groups))
    steps = _cut(time.argsort(), groups_per_batch)  # (steps, P)
    return groups[steps].flatten(1)


def without_copies(index: Tensor) -> Tensor:
    """Put `ABSENT` in the place of the second and later copies of a row in a batch.

    Args:
        index: (steps, B) int64 row numbers or `ABSENT`.
    """
    order = index.sort(dim=1, stable=True)
    is_copy = torch.zeros_like(index, dtype=torch.bool)
    is_copy[:, 1:] = order.values[:, 1:] == order.values[:, :-1]
    return index.masked_fill(is_copy.gather(1, order.indices.argsort(dim=1)), ABSENT)


def _groups(
    labels: Tensor, rows_per_class: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Cuts every class into groups: row numbers (G, K) and the group's class (G,), by class."""
    shuffled = torch.randperm(len(labels), generator=generator)
    rows = shuffled[labels[shuffled].argsort(stable=True)]  # by class, random within
    sizes = torch.bincount(labels)  # (C,)
    starts = sizes.cumsum(0) - sizes
    num_groups = -(-sizes // rows_per_class)
    classes = torch.repeat_interleave(torch.arange(len(sizes)), num_groups)
    first_group = num_groups.cumsum(0) - num_groups
    number = torch.arange(len(classes)) - first_group[classes]  # of the group in its class
    slot = number[:, None] * rows_per_class + torch.arange(rows_per_class)  # (G, K)
    size = sizes[classes][:, None]
    groups = rows[starts[classes][:, None] + slot % size]
    is_copy = (slot >= size) & (size < rows_per_class)
    return groups.masked_fill(is_copy, ABSENT), classes


def _cut(order: Tensor, size: int) -> Tensor:
    """Cuts an order into rows of `size`; the last row is filled up from the beginning."""
    steps = -(-len(order) // size)
    return torch.cat([order, order])[: steps * size].view(steps, size)
