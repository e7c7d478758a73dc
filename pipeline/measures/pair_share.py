"""Whose pairs a loss listens to: the share of its pair weight that wrong labels receive.

The weight of a pair is |dL/dS_ij|, the size of the loss's gradient by its cosine (General Pair
Weighting: Wang, Han, Huang, Dong, Scott, CVPR 2019, arXiv 1904.06627). A pair is wrong if it is
pulled together though its true classes differ, or pushed apart though they are equal. For losses
with proxies a pair is a row and a class.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.program.batch import Batch
from pipeline.program.memory import Memory


class Amounts(NamedTuple):
    """Sums over pairs, () float64 each; those of several batches may be added.

    Attributes:
        pull: weight on pairs of one given class.
        wrong_pull: of it, on pairs whose true classes differ.
        push: weight on pairs of different given classes.
        wrong_push: of it, on pairs whose true classes are equal.
        positives: number of pairs of one given class, whatever their weight.
        wrong_positives: of them, those whose true classes differ.
        negatives: number of pairs of different given classes.
        wrong_negatives: of them, those whose true classes are equal.
    """

    pull: Tensor
    wrong_pull: Tensor
    push: Tensor
    wrong_push: Tensor
    positives: Tensor
    wrong_positives: Tensor
    negatives: Tensor
    wrong_negatives: Tensor


class Tap:
    """Notes the cosines that a loss uses, so that its gradient by them can be read."""

    def __init__(self) -> None:
        """Start without any cosines."""
        self.seen: list[tuple[str, Tensor]] = []

    def __call__(self, kind: str, cosines: Tensor) -> Tensor:
        """Pass cosines on, tied to a leaf of zeros of the same shape."""
        leaf = torch.zeros_like(cosines, requires_grad=True)
        self.seen.append((kind, leaf))
        return cosines.detach() + leaf

    def weights(self, loss: Tensor) -> list[tuple[str, Tensor]]:
        """Compute |dL/dS| of all cosines that were seen, by kind."""
        leaves = [leaf for _, leaf in self.seen]
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        return [
            (kind, torch.zeros_like(leaf) if gradient is None else gradient.abs())
            for (kind, leaf), gradient in zip(self.seen, gradients, strict=True)
        ]


def amounts(
    kind: str, weights: Tensor, batch: Batch, true_classes: Tensor, present: Tensor
) -> Amounts:
    """Sum pair weights by right and wrong.

    Args:
        kind: "batch", "memory" or "proxies", as a `Tap` notes it.
        weights: (B, B), (B, M) or (B, C) of that kind.
        batch: the B rows with their given labels, and the memory.
        true_classes: (N,) int64, true class of every training row, numbered as the labels are; a
            class that no label has may have any other number.
        present: (B,) bool, rows that are shown at all.
    """
    if kind == "proxies":
        classes = torch.arange(weights.shape[1], device=weights.device)
        given, true, is_pair = classes, classes, present[:, None].expand(weights.shape)
    else:
        others = batch if kind == "batch" else batch.memory
        if others is None:
            raise ValueError("there is no memory to pair with")
        given, true = others.labels, true_classes[others.rows.clamp_min(0)]
        is_pair = present[:, None] & _is_there(others, present)[None, :]
        is_pair = is_pair & (batch.rows[:, None] != others.rows[None, :])
    is_positive = batch.labels[:, None] == given[None, :]
    is_same = true_classes[batch.rows][:, None] == true[None, :]
    parts = []
    for values in (weights.double(), torch.ones_like(weights, dtype=torch.float64)):
        values = values * is_pair
        for of_sign, is_right in ((is_positive, is_same), (~is_positive, ~is_same)):
            parts += [(values * of_sign).sum(), (values * (of_sign & ~is_right)).sum()]
    return Amounts(*parts)


def _is_there(others: Batch | Memory, present: Tensor) -> Tensor:
    return present if isinstance(others, Batch) else others.rows >= 0
