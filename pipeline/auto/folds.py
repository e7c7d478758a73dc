"""Which rows choose and which rows are chosen on, like the test that the protocol stands for."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.training.protocol import Name

FOLDS = 3
MOST_ROWS = 8192  # that take part in choosing


class Fold(NamedTuple):
    """One division of the training rows, as numbers among them.

    Attributes:
        fit: rows from which heads are computed.
        query: rows that search.
        gallery: rows that are searched; None where the queries search among each other.
    """

    fit: Tensor
    query: Tensor
    gallery: Tensor | None


def folds(protocol: Name, labels: Tensor, generator: torch.Generator) -> list[Fold]:
    """Divide the training rows by their given labels.

    For `query-gallery` every third row of each class is held out and searches among the others;
    for `class-disjoint` the rows of every third class search among each other. Of more than 8,192
    rows some take part: of every class alike, or some classes.

    Args:
        protocol: its name.
        labels: (N,) int64, on the CPU.
        generator: shuffles rows and classes.
    """
    is_closed = protocol == "query-gallery"
    number = _place_in_class(labels, generator) if is_closed else _shuffled(labels, generator)
    rows = torch.arange(len(labels))
    if len(labels) > MOST_ROWS:
        rows = torch.sort(number * len(labels) + rows).indices[:MOST_ROWS].sort().values
    of_fold = number[rows] % FOLDS
    found = []
    for fold in range(FOLDS):
        fit, held = rows[of_fold != fold], rows[of_fold == fold]
        if len(fit) and len(held) and bool((labels[fit] != labels[fit][0]).any()):
            found.append(Fold(fit, held, fit if is_closed else None))
    return found


def _place_in_class(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Number the rows of every class in random order: (N,) int64 from 0."""
    shuffled = torch.randperm(len(labels), generator=generator)
    order = shuffled[labels[shuffled].argsort(stable=True)]
    counts = labels.bincount()
    starts = (counts.cumsum(0) - counts)[labels[order]]
    place = torch.empty_like(labels)
    place[order] = torch.arange(len(labels)) - starts
    return place


def _shuffled(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Number the classes in random order: (N,) int64, that of each row's class."""
    return torch.randperm(int(labels.max()) + 1, generator=generator)[labels]
