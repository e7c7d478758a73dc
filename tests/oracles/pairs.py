"""Pair losses in plain loops: float64, one pair at a time, straight from the published formulas.

A row weighs twice: as the anchor it multiplies its own term, as the partner it multiplies inside
the anchor's sums. Two rows with one row number are one sample and never a pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Rows(NamedTuple):
    """Anchors or references: embeddings (B, D), labels (B,), rows (B,), weights (B,)."""

    embeddings: NDArray[np.float64]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]
    weights: NDArray[np.float64]


def _partners(anchors: Rows, i: int, references: Rows) -> Iterator[tuple[float, float, bool]]:
    """Yields (cosine, weight, is of the same class) of every reference that is not anchor i."""
    for j in range(len(references.labels)):
        if references.rows[j] != anchors.rows[i]:
            cosine = float(anchors.embeddings[i] @ references.embeddings[j])
            is_same_class = bool(references.labels[j] == anchors.labels[i])
            yield cosine, float(references.weights[j]), is_same_class


def contrastive_sum(anchors: Rows, references: Rows, threshold: float) -> float:
    """sum_i w_i [ sum_P w_j (1 - S_ij) + sum_{N, S_ij > threshold} w_j S_ij ]."""
    total = 0.0
    for i in range(len(anchors.labels)):
        for cosine, weight, is_same_class in _partners(anchors, i, references):
            if is_same_class:
                total += anchors.weights[i] * weight * (1 - cosine)
            elif cosine > threshold:
                total += anchors.weights[i] * weight * cosine
    return total


def contrastive(batch: Rows, threshold: float, divisor: str = "kept") -> float:
    """The cosine form, over the batch; divided by the kept rows or by all rows."""
    return contrastive_sum(batch, batch, threshold) / _count(batch, divisor)


def contrastive_euclidean(batch: Rows, positive_margin: float, negative_margin: float) -> float:
    """mean of [D - m_p]_+ over positives + mean of [m_n - D]_+ over negatives, of terms above 0."""
    sums = {True: [0.0, 0.0], False: [0.0, 0.0]}
    for i in range(len(batch.labels)):
        for cosine, weight, is_same_class in _partners(batch, i, batch):
            distance = sqrt(max(2 - 2 * cosine, 0.0))
            distance = distance if distance > 1e-7 else 0.0
            term = distance - positive_margin if is_same_class else negative_margin - distance
            if term > 0:
                sums[is_same_class][0] += batch.weights[i] * weight * term
                sums[is_same_class][1] += batch.weights[i] * weight
    return sum(total / count for total, count in sums.values() if count)


def memory_contrastive(
    batch: Rows, memory: Rows, threshold: float, memory_weight: float, divisor: str = "kept"
) -> float:
    """The batch against itself plus `memory_weight` times the batch against the memory."""
    inside = contrastive_sum(batch, batch, threshold)
    across = contrastive_sum(batch, memory, threshold)
    return (inside + memory_weight * across) / _count(batch, divisor)


def _count(batch: Rows, divisor: str) -> float:
    return float(batch.weights.sum()) if divisor == "kept" else float(len(batch.weights))


class Mined(NamedTuple):
    """The kept pairs of one anchor: (cosine, weight) each."""

    positives: list[tuple[float, float]]
    negatives: list[tuple[float, float]]


def mine(batch: Rows, i: int, epsilon: float) -> Mined:
    """Keeps negatives above the lowest positive - epsilon, positives below the highest negative
    + epsilon. Partners of weight 0 do not exist."""
    partners = [pair for pair in _partners(batch, i, batch) if pair[1] > 0]
    positives = [(cosine, weight) for cosine, weight, is_same in partners if is_same]
    negatives = [(cosine, weight) for cosine, weight, is_same in partners if not is_same]
    if not positives or not negatives:
        return Mined([], [])
    lowest = min(cosine for cosine, _ in positives)
    highest = max(cosine for cosine, _ in negatives)
    return Mined(
        positives=[pair for pair in positives if pair[0] < highest + epsilon],
        negatives=[pair for pair in negatives if pair[0] > lowest - epsilon],
    )


def multi_similarity(batch: Rows, alpha: float, beta: float, base: float, epsilon: float) -> float:
    """(1/n) sum_i w_i { 1/alpha log[1 + sum_P w_k exp(-alpha (S_ik - base))]
    + 1/beta log[1 + sum_N w_k exp(beta (S_ik - base))] } over the mined pairs."""
    total = 0.0
    for i in range(len(batch.labels)):
        mined = mine(batch, i, epsilon)
        attraction = sum(weight * exp(-alpha * (s - base)) for s, weight in mined.positives)
        repulsion = sum(weight * exp(beta * (s - base)) for s, weight in mined.negatives)
        term = log(1 + attraction) / alpha + log(1 + repulsion) / beta
        total += batch.weights[i] * term
    return total / batch.weights.sum()
