"""The class tree and its triplet loss in plain loops: float64, one pair, merger, triplet at a time.

A pair weighs the product of its rows' weights, a triplet that of its three rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .pairs import Rows

Floats = NDArray[np.float64]
Node = frozenset[int]


def class_distance(rows: Rows, p: int, q: int) -> float:
    """Mean of |r_i - r_j|^2 over i in p, j in q."""
    total = count = 0.0
    for i in np.flatnonzero(rows.labels == p):
        for j in np.flatnonzero(rows.labels == q):
            weight = rows.weights[i] * rows.weights[j]
            total += weight * np.sum((rows.embeddings[i] - rows.embeddings[j]) ** 2)
            count += weight
    return total / count


def spread(rows: Rows, c: int) -> float | None:
    """Mean of |r_i - r_j|^2 over i != j in c; None where no pair counts."""
    total = count = 0.0
    own = np.flatnonzero(rows.labels == c)
    for i in own:
        for j in own:
            if i != j:
                weight = rows.weights[i] * rows.weights[j]
                total += weight * np.sum((rows.embeddings[i] - rows.embeddings[j]) ** 2)
                count += weight
    return total / count if count else None


def mean_spread(rows: Rows) -> float:
    """d_0."""
    found = [spread(rows, c) for c in np.unique(rows.labels)]
    known = [each for each in found if each is not None]
    return sum(known) / len(known) if known else 0.0


def thresholds(rows: Rows, levels: int) -> list[float]:
    """d_l = l (4 - d_0) / L + d_0."""
    lowest = mean_spread(rows)
    return [level * (4 - lowest) / levels + lowest for level in range(levels + 1)]


def node_distance(distance: Floats, sizes: Sequence[float], one: Node, other: Node, by: str):
    """By "average" the mean over the rows of both, by "single" that of the nearest classes."""
    pairs = [(p, q) for p in one for q in other]
    if by == "single":
        return min(distance[p, q] for p, q in pairs)
    weights = [sizes[p] * sizes[q] for p, q in pairs]
    return sum(w * distance[pq] for w, pq in zip(weights, pairs, strict=True)) / sum(weights)


def mergers(distance: Floats, sizes: Sequence[float], by: str) -> list[tuple[float, Node, Node]]:
    """Merges the two nearest nodes until one is left."""
    nodes = [Node([c]) for c in range(len(distance))]
    found = []
    while len(nodes) > 1:
        candidates = [
            (node_distance(distance, sizes, one, other, by), one, other)
            for one, other in combinations(nodes, 2)
        ]
        height, one, other = min(candidates, key=lambda candidate: candidate[0])
        nodes = [node for node in nodes if node not in (one, other)] + [one | other]
        found.append((height, one, other))
    return found


def tree_distance(
    distance: Floats, sizes: Sequence[float], heights: Sequence[float], by: str
) -> Floats:
    """d_H: the smallest threshold above the height at which two classes come together."""
    result = np.zeros_like(distance)
    for height, one, other in mergers(distance, sizes, by):
        threshold = next((each for each in heights if height < each), heights[-1])
        for p in one:
            for q in other:
                result[p, q] = result[q, p] = threshold
    return result


def hierarchical_triplet(batch: Rows, alpha: Mapping[tuple[int, int], float]) -> tuple[float, int]:
    """1 / (2 Z) sum [D_ap^2 - D_an^2 + alpha(y_a, y_n)]_+ and the number of triplets."""
    total = weight = 0.0
    count = 0
    everybody = range(len(batch.labels))
    for a in everybody:
        for p in everybody:
            for n in everybody:
                y = batch.labels[[a, p, n]]
                if y[0] != y[1] or y[0] == y[2] or batch.rows[a] == batch.rows[p]:
                    continue
                if batch.rows[a] == batch.rows[n]:
                    continue
                near = np.sum((batch.embeddings[a] - batch.embeddings[p]) ** 2)
                far = np.sum((batch.embeddings[a] - batch.embeddings[n]) ** 2)
                product = batch.weights[[a, p, n]].prod()
                total += product * max(0.0, near - far + alpha[int(y[0]), int(y[2])])
                weight += product
                count += 1
    return (total / (2 * weight) if weight else 0.0), count
