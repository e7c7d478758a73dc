"""Baseline pair losses in plain loops: float64, one pair at a time, from the published formulas.

A row weighs twice: as the anchor it multiplies its own term, as the partner it multiplies inside
the anchor's sums. Two rows with one row number are one sample and never a pair. Distances are taken
from the difference of the two vectors, never from their cosine.
"""

from __future__ import annotations

from itertools import pairwise
from math import exp, log, sqrt
from typing import NamedTuple

from .pairs import Rows


class Partner(NamedTuple):
    """A row as it is seen by an anchor."""

    at: int
    cosine: float
    distance: float
    weight: float


def _cosine(rows: Rows, i: int, j: int) -> float:
    return float(sum(rows.embeddings[i] * rows.embeddings[j]))


def _distance(rows: Rows, i: int, j: int) -> float:
    return sqrt(sum((rows.embeddings[i] - rows.embeddings[j]) ** 2))


def _partners(rows: Rows, i: int, *, of_same_class: bool) -> list[Partner]:
    """The positives or the negatives of row i that are there."""
    return [
        Partner(j, _cosine(rows, i, j), _distance(rows, i, j), float(rows.weights[j]))
        for j in range(len(rows.labels))
        if rows.weights[j] > 0 and rows.rows[j] != rows.rows[i]
        if (rows.labels[j] == rows.labels[i]) == of_same_class
    ]


def positives(rows: Rows, i: int) -> list[Partner]:
    return _partners(rows, i, of_same_class=True)


def negatives(rows: Rows, i: int) -> list[Partner]:
    return _partners(rows, i, of_same_class=False)


def _mean(terms: list[tuple[float, float]]) -> float:
    """The mean of (weight, value); 0 of nothing."""
    total = sum(weight for weight, _ in terms)
    return sum(weight * value for weight, value in terms) / total if total else 0.0


def triplet(rows: Rows, margin: float, *, is_semi_hard: bool = True, power: int = 1) -> float:
    """mean of D_ap - D_an + margin over 0 < D_an - D_ap < margin, or over D_an - D_ap < margin."""
    terms = []
    for a in range(len(rows.labels)):
        for p in positives(rows, a):
            for n in negatives(rows, a):
                gap = n.distance**power - p.distance**power
                if gap < margin and (gap > 0 or not is_semi_hard):
                    terms.append((rows.weights[a] * p.weight * n.weight, margin - gap))
    return _mean(terms)


def lifted_structure(rows: Rows, margin: float, scale: float) -> float:
    """1/(2 |P|) sum_P [s D_ij + log(sum_{N_i} e^s(m - D_ik) + sum_{N_j} e^s(m - D_jk))]_+^2."""
    terms = []
    for i in range(len(rows.labels)):
        for j in positives(rows, i):
            rivals = [*negatives(rows, i), *negatives(rows, j.at)]
            total = sum(k.weight * exp(scale * (margin - k.distance)) for k in rivals)
            if rivals:
                value = max(0.0, scale * j.distance + log(total)) ** 2 / 2
                terms.append((rows.weights[i] * j.weight, value))
    return _mean(terms)


def lifted_structure_by_anchors(rows: Rows, margin: float, scale: float) -> float:
    """mean_i [log sum_{P_i} e^(s D_ik) + log sum_{N_i} e^s(m - D_ik)]_+ over anchors with both."""
    terms = []
    for i in range(len(rows.labels)):
        near, far = positives(rows, i), negatives(rows, i)
        if near and far:
            attraction = log(sum(k.weight * exp(scale * k.distance) for k in near))
            repulsion = log(sum(k.weight * exp(scale * (margin - k.distance)) for k in far))
            terms.append((rows.weights[i], max(0.0, attraction + repulsion)))
    return _mean(terms)


def n_pair(rows: Rows, pairs: list[tuple[int, int]], scale: float) -> float:
    """mean_c log(1 + sum_{k != c} e^(scale (<a_c, p_k> - <a_c, p_c>))) over the given pairs."""
    terms = []
    for a, p in pairs:
        own = _cosine(rows, a, p)
        rivals = sum(
            rows.weights[other] * exp(scale * (_cosine(rows, a, other) - own))
            for _, other in pairs
            if other != p
        )
        terms.append((rows.weights[a] * rows.weights[p], log(1 + rivals)))
    return _mean(terms)


def shares(rows: Rows, a: int, cutoff: float, farthest: float) -> dict[int, float]:
    """The distance-weighted distribution over the negatives of a that are near enough."""
    d = rows.embeddings.shape[1]
    weights = {}
    for n in negatives(rows, a):
        if n.distance < farthest:
            far = max(n.distance, cutoff)
            density = far ** (d - 2) * (1 - far**2 / 4) ** ((d - 3) / 2)
            weights[n.at] = n.weight / density
    return {at: weight / sum(weights.values()) for at, weight in weights.items()}


def margin(
    rows: Rows,
    boundary: list[float],
    margin: float,
    cutoff: float,
    farthest: float,
    at: Rows | None = None,
) -> float:
    """Positive hinges, and negative hinges in expectation, by the number of open ones.

    Args:
        rows: the batch.
        boundary: beta of each class.
        margin: of each hinge.
        cutoff: of the distribution over negatives.
        farthest: of the distribution over negatives.
        at: the batch at which that distribution is taken, so that the derivative by `rows` is the
            published gradient; None = `rows`.
    """
    total = count = 0.0
    for a in range(len(rows.labels)):
        beta = boundary[rows.labels[a]]
        drawn = shares(rows if at is None else at, a, cutoff, farthest)
        for p in positives(rows, a):
            hinges = [(1.0, margin + p.distance - beta)]
            hinges += [(q, margin - _distance(rows, a, n) + beta) for n, q in drawn.items()]
            for share, value in hinges:
                if value > 0:
                    total += rows.weights[a] * p.weight * share * value
                    count += rows.weights[a] * p.weight * share
    return total / count if count else 0.0


def binomial_deviance(rows: Rows, alpha: float, beta: float, base: float) -> float:
    """mean_i { mean_P log(1 + e^(alpha (base - S))) + mean_N log(1 + e^(beta (S - base))) }."""
    terms = []
    for i in range(len(rows.labels)):
        near = [(k.weight, log(1 + exp(alpha * (base - k.cosine)))) for k in positives(rows, i)]
        far = [(k.weight, log(1 + exp(beta * (k.cosine - base)))) for k in negatives(rows, i)]
        terms.append((rows.weights[i], _mean(near) + _mean(far)))
    return _mean(terms)


def average_precision(rows: Rows, i: int, bins: int) -> float | None:
    """(1/N+) sum_l H_l+ h_l+ / H_l of query i; None without positives.

    Bins go up to 4 in steps of 4 / bins. A pair at squared distance x between two centres is shared
    between them in proportion to its nearness.
    """
    centres = [4 * number / bins for number in range(bins + 1)]

    def histogram(partners: list[Partner]) -> list[float]:
        mass = [0.0] * (bins + 1)
        for partner in partners:
            x = partner.distance**2
            for at, (left, right) in enumerate(pairwise(centres)):
                if left <= x < right:
                    share = (x - left) / (right - left)
                    mass[at] += partner.weight * (1 - share)
                    mass[at + 1] += partner.weight * share
            if x >= 4:
                mass[bins] += partner.weight
        return mass

    near, far = histogram(positives(rows, i)), histogram(negatives(rows, i))
    if not sum(near):
        return None
    total = found = seen = 0.0
    for of_class, of_others in zip(near, far, strict=True):
        found += of_class
        seen += of_class + of_others
        total += of_class * found / seen if seen else 0.0
    return total / sum(near)


def fastap(rows: Rows, bins: int) -> float:
    """1 - mean of the soft average precisions of the rows that have a positive."""
    terms = []
    for i in range(len(rows.labels)):
        precision = average_precision(rows, i, bins)
        if precision is not None:
            terms.append((rows.weights[i], 1 - precision))
    return _mean(terms)


def circle(rows: Rows, scale: float, margin: float, at: Rows | None = None) -> float:
    """mean_i log(1 + sum_N e^(g a_n (S - m)) sum_P e^(-g a_p (S - 1 + m))) over rows with both.

    Args:
        rows: the batch.
        scale: g.
        margin: m.
        at: the batch at which the strengths a_n = [S + m]_+ and a_p = [1 + m - S]_+ are taken, so
            that the derivative by `rows` is the published gradient; None = `rows`.
    """
    at = rows if at is None else at
    terms = []
    for i in range(len(rows.labels)):
        near, far = positives(rows, i), negatives(rows, i)
        pull = push = 0.0
        for k in near:
            strength = max(0.0, 1 + margin - _cosine(at, i, k.at))
            pull += k.weight * exp(-scale * strength * (k.cosine - (1 - margin)))
        for k in far:
            strength = max(0.0, _cosine(at, i, k.at) + margin)
            push += k.weight * exp(scale * strength * (k.cosine - margin))
        if near and far:
            terms.append((rows.weights[i], log(1 + pull * push)))
    return _mean(terms)
