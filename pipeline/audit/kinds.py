"""Images that belong to no class, and classes that cannot be told apart."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.stats import poisson
from torch import Tensor

from pipeline.measures import label_posterior
from pipeline.measures.neighbourhood import Neighbourhood

_CLOSE = 3  # nearest rows whose mean cosine tells how alone a row is
_LONELY, _OUTSIDE = 0.6, 0.8  # see `is_out_of_set`; chosen on photos of held-out classes
_TORN = 0.25  # the weaker share of two classes over the stronger, from which a row is torn
_CHANCE = 0.01  # that so many rows are torn between two classes by accident
_LEAST_ROWS = 2  # of each of two classes


class Pair(NamedTuple):
    """Two classes that are mutually confused.

    Attributes:
        a: number of the larger one.
        b: of the other.
        rows_ab: rows labelled a that look as much like b.
        rows_ba: rows labelled b that look as much like a.
        share: of both in the rows of both classes, in [0, 1].
    """

    a: int
    b: int
    rows_ab: int
    rows_ba: int
    share: float


def is_out_of_set(rows: Tensor, labels: Tensor, near: Neighbourhood, num_classes: int) -> Tensor:
    """Mark rows that lie far from every class centre and from every other row.

    Classes spread differently, so far is measured by those who live there. A row is far from the
    others if the mean cosine with its nearest rows is below `_LONELY` times what it is for these
    (the idea of the local outlier factor, Breunig et al., SIGMOD 2000), and far from the centres if
    the cosine with the nearest one is below `_OUTSIDE` times that of the class's median row.

    Args:
        rows: (N, F) unit norm.
        labels: (N,) int64.
        near: of the same rows.
        num_classes: C.

    Returns:
        (N,) bool.
    """
    closeness = near.cosines[:, :_CLOSE].mean(dim=1)
    usual = closeness[near.rows[:, :_CLOSE]].mean(dim=1)
    everybody = label_posterior.every_row(rows)
    highest, nearest, own = [], [], []
    for cosines, y, _ in label_posterior.tiles(rows, labels, everybody, num_classes):
        best = cosines.max(dim=1)
        highest.append(best.values)
        nearest.append(best.indices)
        own.append(cosines.gather(1, y[:, None])[:, 0])
    inside = _medians(torch.cat(own), labels, num_classes)[torch.cat(nearest)]
    return (closeness < _LONELY * usual) & (torch.cat(highest) < _OUTSIDE * inside)


def _medians(values: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Take the median of the values (N,) of each class, (C,); of a class without rows any."""
    order = values.argsort(stable=True)
    order = order[labels[order].argsort(stable=True)]  # by class, ascending within
    sizes = labels.bincount(minlength=num_classes)
    middle = sizes.cumsum(0) - sizes + (sizes - 1).clamp_min(0) // 2
    return values[order[middle.clamp_max(len(values) - 1)]]


def is_torn(own_share: Tensor, other_share: Tensor) -> Tensor:
    """Mark rows that look like two classes alike, (N,) bool, from the shares (N,) of both."""
    low, high = torch.minimum(own_share, other_share), torch.maximum(own_share, other_share)
    return (high > 0) & (low >= _TORN * high)


def confused_pairs(torn: Tensor, labels: Tensor, suggested: Tensor, num_classes: int) -> list[Pair]:
    """List pairs of classes with more torn rows, in both directions, than chance explains.

    A mistake is one class's picture under another's label: it looks like the other class, and it
    goes one way. Where the pictures of two classes look alike, rows of both are torn between both.
    By chance the torn rows of a class fall on the other classes as these are large.

    Args:
        torn: (N,) bool.
        labels: (N,) int64.
        suggested: (N,) int64, the other class that fits best.
        num_classes: C.

    Returns:
        The pairs, those with the largest share first.
    """
    sizes = labels.bincount(minlength=num_classes).tolist()
    of_class = labels[torn].bincount(minlength=num_classes).tolist()
    keys, counts = torch.unique((labels * num_classes + suggested)[torn], return_counts=True)
    found = dict(zip(keys.tolist(), counts.tolist(), strict=True))
    pairs = []
    for key, there in found.items():
        a, b = divmod(key, num_classes)
        back = found.get(b * num_classes + a, 0)
        is_first = (sizes[a], -a) > (sizes[b], -b)
        if is_first and min(there, back) >= _LEAST_ROWS:
            by_chance = (
                poisson.sf(there - 1, of_class[a] * sizes[b] / len(labels)),
                poisson.sf(back - 1, of_class[b] * sizes[a] / len(labels)),
            )
            if max(by_chance) < _CHANCE:
                pairs.append(Pair(a, b, there, back, (there + back) / (sizes[a] + sizes[b])))
    return sorted(pairs, key=lambda pair: (-pair.share, pair.a, pair.b))
