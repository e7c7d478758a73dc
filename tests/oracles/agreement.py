"""Agreement by plain loops in float64, as the selection's docstring says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Labels = list[int]


def levelled(rows: Matrix, covariance: Matrix, ridge: float) -> Matrix:
    """(S + ridge v I)^(-1/2) x at unit norm, v = the mean eigenvalue of S."""
    values, vectors = np.linalg.eigh(covariance)
    usual = sum(values) / len(values)
    scales = [(max(value, 0) + ridge * usual) ** -0.5 for value in values]
    root = sum(s * np.outer(u, u) for s, u in zip(scales, vectors.T, strict=True))
    return np.array([root @ row / np.linalg.norm(root @ row) for row in rows])


def first_copies(rows: Matrix) -> list[int]:
    return [next(j for j in range(i + 1) if (rows[j] == rows[i]).all()) for i in range(len(rows))]


def neighbours(space: Matrix, first: list[int], count: int) -> list[list[int]]:
    """The nearest rows, nearest first; of copies the first alone, and none of one's own."""
    found = []
    for row, own in enumerate(first):
        others = [j for j in sorted(set(first)) if j != own]
        others.sort(key=lambda j: -float(space[row] @ space[j]))
        found.append(others[:count])
    return found


def pair_covariance(rows: Matrix, near: list[list[int]], labels: Labels) -> Matrix:
    """The mean of half (x_i - x_j)(x_i - x_j)' over agreeing pairs."""
    total, count = np.zeros((rows.shape[1], rows.shape[1])), 0
    for i, others in enumerate(near):
        for j in others:
            if labels[i] == labels[j]:
                total += np.outer(rows[i] - rows[j], rows[i] - rows[j]) / 2
                count += 1
    return total / max(count, 1)


def agreement(near: list[list[int]], labels: Labels, first: list[int]) -> list[float]:
    found = []
    for i, others in enumerate(near):
        different = {first[j] for j in range(len(labels)) if labels[j] == labels[i]}
        k = max(1, min(len(others), len(different) - 1))
        found.append(sum(labels[j] == labels[i] for j in others[:k]) / k)
    return found


def usual(share: list[float], weights: list[float], labels: Labels) -> dict[int, float]:
    found = {}
    for label in set(labels):
        own = [(s, w) for s, w, y in zip(share, weights, labels, strict=True) if y == label]
        squares, sums = sum(w * s * s for s, w in own), sum(w * s for s, w in own)
        found[label] = max(squares / max(sums, 1e-3), 1e-3)
    return found


def weights_of(
    share: list[float], labels: Labels, first: list[int], power: float, *, relative: bool
) -> list[float]:
    typical = usual(share, [1.0] * len(share), labels) if relative else dict.fromkeys(labels, 1.0)
    found = []
    for a, label in zip(share, labels, strict=True):
        different = {f for f, other in zip(first, labels, strict=True) if other == label}
        is_alone = len(different) == 1
        found.append(1.0 if is_alone else min(1, a / typical[label]) ** power)
    return found


def elsewhere(
    near: list[list[int]], labels: Labels, weights: list[float]
) -> tuple[list[int], list[float]]:
    """The other class of largest v / u, and that ratio; the own class and 0 where none is."""

    def part(row: int, label: int) -> float:
        votes = sum(weights[j] for j in near[row] if labels[j] == label)
        mass = sum(w for w, y in zip(weights, labels, strict=True) if y == label)
        return min(1, votes / min(max(mass, 1), len(near[row])))

    own = [part(row, label) for row, label in enumerate(labels)]
    typical = usual(own, weights, labels)
    names, ratios = [], []
    for row, label in enumerate(labels):
        others = {labels[j] for j in near[row]} - {label}
        best = max(others, key=lambda c: part(row, c) / typical[c], default=label)
        ratio = part(row, best) / typical[best] if best != label else 0.0
        names.append(best if ratio > 0 else label)
        ratios.append(ratio)
    return names, ratios


def start(
    rows: Matrix,
    labels: Labels,
    *,
    neighbours_: int,
    power: float,
    looks: int = 2,
    relative: bool = True,
    offers: bool = True,
) -> tuple[list[float], list[int], list[float]]:
    """Weights, other classes and their weights."""
    first = first_copies(rows)
    values = rows - sum(rows) / len(rows)
    space = np.array([row / np.linalg.norm(row) for row in values])
    if looks > 0:
        space = levelled(values, values.T @ values / len(values), 1.0)
    near = neighbours(space, first, neighbours_)
    if looks > 1:
        space = levelled(values, pair_covariance(values, near, labels), 0.43)
        near = neighbours(space, first, neighbours_)
    share = agreement(near, labels, first)
    weights = weights_of(share, labels, first, power, relative=relative)
    if not offers:
        return weights, labels, [0.0] * len(labels)
    names, ratios = elsewhere([each[:10] for each in near], labels, weights)
    pairs = zip(weights, ratios, strict=True)
    return weights, names, [(1 - w) * min(1, r) ** 4 for w, r in pairs]
