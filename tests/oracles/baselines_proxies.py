"""Softmax losses over proxies in plain loops: float64, one row and one proxy at a time.

A row's weight multiplies its term; the terms are divided by the sum of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from .proxies import cosine

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def cross_entropy(logits: list[float], label: int) -> float:
    return log(sum(exp(logit - logits[label]) for logit in logits))


def weighted_mean(terms: list[float], weights: Array) -> float:
    total = float(sum(weights))
    pairs = zip(weights, terms, strict=True)
    return sum(float(w) * term for w, term in pairs) / total if total else 0.0


def softmax(
    rows: Array, labels: Labels, weights: Array, logit: Callable[[Array, int], float], classes: int
) -> float:
    """Weighted mean of -log softmax_c(logit(row, c))[label]."""
    terms = [
        cross_entropy([logit(row, c) for c in range(classes)], int(label))
        for row, label in zip(rows, labels, strict=True)
    ]
    return weighted_mean(terms, weights)


def normalized_softmax(
    rows: Array, labels: Labels, weights: Array, proxies: Array, temperature: float
) -> float:
    """CE(cos(x, p_c) / T)."""

    def logit(row: Array, c: int) -> float:
        return cosine(row, proxies[c]) / temperature

    return softmax(rows, labels, weights, logit, len(proxies))


def proxy_nca(rows: Array, labels: Labels, weights: Array, proxies: Array, scale: float) -> float:
    """CE(-scale ||x - p_c||^2) of unit vectors, the distance coordinate by coordinate."""

    def logit(row: Array, c: int) -> float:
        proxy = proxies[c] / sqrt(float(proxies[c] @ proxies[c]))
        return -scale * sum((float(a) - float(b)) ** 2 for a, b in zip(row, proxy, strict=True))

    return softmax(rows, labels, weights, logit, len(proxies))


def soft_triple(
    rows: Array,
    labels: Labels,
    weights: Array,
    centres: Sequence[Array],
    scale: float,
    gamma: float,
    margin: float,
    tau: float,
) -> float:
    """CE(scale (S_c - margin [c = y])) + tau R, with centres (K_c, D) of each class."""
    terms = []
    for row, label in zip(rows, labels, strict=True):
        similarity = [class_similarity(row, own, gamma) for own in centres]
        similarity[label] -= margin
        terms.append(cross_entropy([scale * s for s in similarity], int(label)))
    reg = centre_distance(centres) if sum(weights) else 0.0
    return weighted_mean(terms, weights) + tau * reg


def class_similarity(row: Array, centres: Array, gamma: float) -> float:
    """sum_k softmax_k(s_k / gamma) s_k."""
    cosines = [cosine(row, centre) for centre in centres]
    shares = [exp(s / gamma) for s in cosines]
    return sum(q * s for q, s in zip(shares, cosines, strict=True)) / sum(shares)


def centre_distance(centres: Sequence[Array]) -> float:
    """Mean over classes of 1 / (K_c (K_c - 1)) sum_{k < l} sqrt(2 + 1e-5 - 2 cos)."""
    total = 0.0
    for own in centres:
        count = len(own)
        for k in range(count):
            for other in range(k + 1, count):
                distance = sqrt(2 + 1e-5 - 2 * cosine(own[k], own[other]))
                total += distance / (count * (count - 1))
    return total / len(centres)


def squared_cosines(proxies: Array) -> float:
    """R = ||P P^T - I||_F^2 of unit rows, by the explicit C x C matrix."""
    unit = proxies / np.sqrt((proxies**2).sum(axis=1, keepdims=True))
    return float(((unit @ unit.T - np.eye(len(unit))) ** 2).sum())
