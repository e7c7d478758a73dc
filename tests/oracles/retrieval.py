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
    map_at: dict[int, float]


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


def average_precision_at_k(is_right: list[bool], k: int) -> float:
    """Sum of the precisions at the right ranks up to K over the most that there can be of them."""
    precisions = [fmean(is_right[:i]) for i in range(1, k + 1) if is_right[i - 1 : i] == [True]]
    return sum(precisions) / min(k, sum(is_right))


def optimistic_recall(is_right: list[bool], cosines: list[float], k: int) -> bool:
    """The tie rule of other code: fewer than K wrong items strictly above the best right one."""
    best = max(value for value, right in zip(cosines, is_right, strict=True) if right)
    wrong = [value for value, right in zip(cosines, is_right, strict=True) if not right]
    return sum(value > best for value in wrong) < k


def evaluate(
    similarity: NDArray[np.floating],
    query_labels: list[int],
    gallery_labels: list[int],
    recall_at: tuple[int, ...],
    own_rows: list[int] | None = None,
    map_at: tuple[int, ...] = (),
) -> Scores:
    """Averages Recall@K, R-precision, MAP@R and MAP@K over the rows of a (Q, G) similarity."""
    recalls: dict[int, list[float]] = {k: [] for k in recall_at}
    at: dict[int, list[float]] = {k: [] for k in map_at}
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
        for k in map_at:
            at[k].append(average_precision_at_k(is_right, k))
        r_precisions.append(sum(is_right[:r]) / r)
        average_precisions.append(average_precision_at_r(is_right, r))
    return Scores(
        recall={k: fmean(values) for k, values in recalls.items()},
        r_precision=fmean(r_precisions),
        map_at_r=fmean(average_precisions),
        lone=lone,
        map_at={k: fmean(values) for k, values in at.items()},
    )
