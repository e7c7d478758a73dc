"""Noisy-label classifiers as loops, from the formulas."""

from __future__ import annotations

from math import ceil, exp, log
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def softmax(scores: Array) -> list[float]:
    highest = max(scores)
    powers = [exp(score - highest) for score in scores]
    return [power / sum(powers) for power in powers]


def cross_entropy(scores: Array, label: int) -> float:
    return -log(softmax(scores)[label])


def weighted_mean(values: list[float], weights: Array) -> float:
    total = sum(weights)
    return sum(w * v for w, v in zip(weights, values, strict=True)) / total if total else 0.0


def forward(scores: Array, label: int, transition: Array) -> float:
    """-log sum_k p_k P_{k,y}."""
    p = softmax(scores)
    return -log(sum(p[k] * transition[k][label] for k in range(len(p))))


def symmetric(num_classes: int, noise_rate: float) -> Array:
    matrix = np.full((num_classes, num_classes), noise_rate / (num_classes - 1))
    np.fill_diagonal(matrix, 1 - noise_rate)
    return matrix


def schedule(noise_rate: float, exponent: float, ramp: int, epochs: int) -> list[float]:
    """The published code: an array of the rate, whose beginning is overwritten."""
    rates = np.ones(epochs) * noise_rate
    rates[:ramp] = np.linspace(0, noise_rate**exponent, ramp)
    return rates.tolist()


def picks(losses: list[float], candidates: list[int], forget: float) -> set[int]:
    """The int((1 - f) n) candidates of smallest loss, at least one of any."""
    ordered = sorted(candidates, key=lambda row: (losses[row], row))
    return set(ordered[: max(int((1 - forget) * len(candidates) + 1e-6), 1)])


def exchange(
    logits: Array, labels: Array, weights: Array, forget: float, only_disputed: bool
) -> list[list[float]]:
    """Weights of both heads: (2, B)."""
    rows = range(len(labels))
    candidates = [row for row in rows if weights[row] > 0]
    disputed = [r for r in candidates if np.argmax(logits[0][r]) != np.argmax(logits[1][r])]
    if only_disputed and disputed:
        candidates = disputed
    picked = [
        picks([cross_entropy(head[row], labels[row]) for row in rows], candidates, forget)
        for head in logits
    ]
    return [[weights[r] if r in picked[other] else 0.0 for r in rows] for other in (1, 0)]


def class_probabilities(row: int, rows: Array, labels: Array, num_classes: int, scale: float):
    """The softmax over class centres, the row left out of its own."""
    scores = []
    for k in range(num_classes):
        members = [j for j in range(len(rows)) if labels[j] == k and j != row]
        if not any(labels == k):
            scores.append(-np.inf)
            continue
        total = sum((rows[j] for j in members), np.zeros(rows.shape[1]))
        centre = total / max(np.linalg.norm(total), 1e-12)
        scores.append(scale * float(centre @ rows[row]))
    return softmax(np.array(scores))


def transition_of_shares(rows: Array, labels: Array, num_classes: int, percentile, scales) -> Array:
    """P from the labels of the rows beyond a percentile among those of each label."""
    p = best_probabilities(rows, labels, num_classes, scales)
    found = np.eye(num_classes)
    for k in range(num_classes):
        own = sorted(p[i][k] for i in range(len(rows)) if labels[i] == k)
        if len(own) > 1:
            least = own[ceil(percentile / 100 * len(own) - 1e-9) - 1]
            given = [labels[i] for i in range(len(rows)) if p[i][k] >= least - 1e-12]
            found[k] = [given.count(j) / len(given) for j in range(num_classes)]
    found = np.maximum(found, 1e-7)
    return found / found.sum(axis=1, keepdims=True)


def transition_of_anchors(
    rows: Array, labels: Array, num_classes: int, percentile, scales
) -> Array:
    """P from the probabilities of one row a class, at a percentile among all rows."""
    p = best_probabilities(rows, labels, num_classes, scales)
    found = np.eye(num_classes)
    for k in set(labels.tolist()):
        order = sorted(range(len(rows)), key=lambda i: p[i][k])
        found[k] = p[order[ceil(percentile / 100 * len(rows) - 1e-9) - 1]]
    found = np.maximum(found, 1e-7)
    return found / found.sum(axis=1, keepdims=True)


def best_probabilities(rows: Array, labels: Array, num_classes: int, scales) -> list[Array]:
    """p of every row at the most likely scale."""

    def likelihood(scale: float) -> float:
        return sum(
            log(class_probabilities(i, rows, labels, num_classes, scale)[labels[i]])
            for i in range(len(rows))
            if sum(labels == labels[i]) > 1
        )

    scale = max(scales, key=likelihood)
    return [class_probabilities(i, rows, labels, num_classes, scale) for i in range(len(rows))]
