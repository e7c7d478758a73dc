"""Batches of random anchor classes, each with its nearest ones, and a few rows of each class."""

from __future__ import annotations

import torch
from torch import Tensor

ABSENT = -1


class Decks:
    """The rows of every class in random order, dealt from the top; once all are out, again.

    Attributes:
        classes: (P,) int64, the classes that have rows.
        shown: (C,) int64, how many rows of each class were asked for so far.
        sizes: (C,) int64, how many rows it has.
    """

    def __init__(self, labels: Tensor, num_classes: int, generator: torch.Generator) -> None:
        """Shuffle the rows of labels (N,) within their classes."""
        shuffled = torch.randperm(len(labels), generator=generator)
        self._rows = shuffled[labels[shuffled].argsort(stable=True)]  # by class, random within
        self.sizes = torch.bincount(labels, minlength=num_classes)
        self._starts = self.sizes.cumsum(0) - self.sizes
        self.classes = self.sizes.nonzero().flatten()
        self.shown = torch.zeros_like(self.sizes)

    def deal(self, classes: Tensor, count: int) -> Tensor:
        """Take rows of distinct classes (P,): (P, count), `ABSENT` where a class has fewer."""
        places = torch.arange(count)
        size = self.sizes[classes, None]
        slot = (self.shown[classes, None] + places) % size
        self.shown[classes] += count
        return self._rows[self._starts[classes, None] + slot].masked_fill(places >= size, ABSENT)

    def random_order(self, generator: torch.Generator) -> Tensor:
        """Shuffle the classes, those with rows that were not dealt yet before all others."""
        order = self.classes[torch.randperm(len(self.classes), generator=generator)]
        is_through = self.shown[order] >= self.sizes[order]
        return order[is_through.int().argsort(stable=True)]


def epoch(
    labels: Tensor,
    nearest: Tensor,
    generator: torch.Generator,
    *,
    num_anchors: int,
    images_per_class: int,
) -> Tensor:
    """Draws as many batches as the classes have groups of t rows.

    Args:
        labels: (N,) int64 on the CPU.
        nearest: (C, m - 1) int64, each class's nearest others, or `ABSENT`.
        generator: on the CPU.
        num_anchors: l', at least 1.
        images_per_class: t, at least 1.

    Returns:
        (steps, P t) int64 row numbers or `ABSENT`, of P = l' m classes, or all if these are fewer.
    """
    near: list[list[int]] = nearest.tolist()
    decks = Decks(labels, len(near), generator)
    wanted = min(num_anchors * (1 + nearest.shape[1]), len(decks.classes))
    num_groups = int((-(-decks.sizes // images_per_class)).sum())
    steps = []
    for _ in range(-(-num_groups // wanted)):
        classes = gather(decks.random_order(generator).tolist(), near, wanted)
        steps.append(decks.deal(torch.tensor(classes), images_per_class).flatten())
    return torch.stack(steps)


def gather(anchors: list[int], near: list[list[int]], wanted: int) -> list[int]:
    """Takes anchors, each followed by its nearest classes, until there are `wanted` distinct."""
    taken: dict[int, None] = {}  # keeps the order
    for anchor in anchors:
        taken.update(dict.fromkeys([anchor, *near[anchor]]))
        taken.pop(ABSENT, None)
        if len(taken) >= wanted:
            break
    return list(taken)[:wanted]
