"""Retrieval metrics by brute force: one query at a time, one rank at a time."""

from __future__ import annotations

from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Scores(NamedTuple):
    """Averages over the queries that have a right item; `lone` counts the others."""

    recall: dict[int, float]
    r_precision: float
    map_at_r: float
    lone: int


def ranking(cosines: NDArray[np.floating], own_row: int | None) -> list[int]:
    """Gallery rows by falling cosine, equal cosines by row number, the query's own row removed."""
    rows = [row for row in range(len(cosines)) if row != own_row]
    return sorted(rows, key=lambda row: (-cosines[row], row))


def average_precision_at_r(is_right: list[bool], r: int) -> float:
    """(1/R) sum_{i <= R} (precision at i if item i is right, else 0)."""
    total = 0.0
    for i in range(1, r + 1):
        if is_right[i - 1]:
            total += sum(is_right[:i]) / i
    return total / r


def evaluate(
    similarity: NDArray[np.floating],
    query_labels: list[int],
    gallery_labels: list[int],
    recall_at: tuple[int, ...],
    own_rows: list[int] | None = None,
) -> Scores:
    """Averages Recall@K, R-precision and MAP@R over the rows of a (Q, G) similarity."""
    recalls: dict[int, list[float]] = {k: [] for k in recall_at}
    r_precisions, average_precisions, lone = [], [], 0
    for q, label in enumerate(query_labels):
        order = ranking(similarity[q], None if own_rows is None else own_rows[q])
        is_right = [gallery_labels[row] == label for row in order]
        r = sum(is_right)
        if r == 0:
            lone += 1
            continue
        for k in recall_at:
            recalls[k].append(float(any(is_right[:k])))
        r_precisions.append(sum(is_right[:r]) / r)
        average_precisions.append(average_precision_at_r(is_right, r))
    return Scores(
        recall={k: fmean(values) for k, values in recalls.items()},
        r_precision=fmean(r_precisions),
        map_at_r=fmean(average_precisions),
        lone=lone,
    )
