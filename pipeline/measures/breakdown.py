"""Retrieval metrics for groups of queries: classes, superclasses."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

import torch
from torch import Tensor

from pipeline.measures.metrics import PerQuery, Retrieval


def by_group(measured: PerQuery, group: Tensor, num_groups: int) -> list[Retrieval]:
    """Average the metrics within each group of queries.

    Args:
        measured: Q queries.
        group: (Q,) int64 in [0, num_groups).
        num_groups: how many there are; one without queries has NaN.
    """
    order = group.argsort(stable=True)
    sizes = torch.bincount(group, minlength=num_groups).tolist()
    return [measured.of(queries).average() for queries in torch.split(order, sizes)]


def mean_over_groups(groups: Iterable[Retrieval]) -> dict[str, float]:
    """Average each metric over the groups, all alike, that have a query with a right item."""
    shares = [each.shares() for each in groups if each.num_queries]
    return {name: fmean(each[name] for each in shares) for name in shares[0]} if shares else {}
