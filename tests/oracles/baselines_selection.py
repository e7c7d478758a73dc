"""kNN label share, von Mises-Fisher PRISM and class density in plain loops, float64."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from math import exp, log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from .prism import keep_highest

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def label_share(i: int, rows: Array, labels: Labels, k: int) -> float:
    """Share of the own label among the k nearest rows by that of the most frequent one.

    Left out: the row itself, its exact copies, and every later copy of another row.
    """
    candidates = [
        j
        for j in range(len(rows))
        if not np.array_equal(rows[j], rows[i])
        and not any(np.array_equal(rows[j], rows[before]) for before in range(j))
    ]
    nearest = sorted(candidates, key=lambda j: -float(rows[i] @ rows[j]))[:k]
    votes = Counter(int(labels[j]) for j in nearest)
    classmates = [j for j in range(len(rows)) if labels[j] == labels[i]]
    is_alone = all(np.array_equal(rows[j], rows[i]) for j in classmates)
    if is_alone or not votes:
        return 1.0
    return votes[int(labels[i])] / max(votes.values())


def concentration(rows: Array) -> float:
    """kappa = R (d - R^2) / (1 - R^2) of the rows of one class."""
    mean = rows.mean(axis=0)
    length = min(max(sqrt(float(mean @ mean)), 1e-6), 1 - 1e-4)
    return length * (rows.shape[1] - length**2) / (1 - length**2)


def log_normaliser(kappa: float, dim: int) -> float:
    """v log kappa - (d/2) log 2 pi - log I_v(kappa), with the series' leading large-order term."""
    v = dim / 2 - 1
    s = sqrt(v * v + kappa * kappa)
    log_bessel = s + v * log(kappa / (v + s)) - 0.5 * log(2 * pi * s)
    return v * log(kappa) - dim / 2 * log(2 * pi) - log_bessel


def concentrations(
    rows: Array, labels: Labels, kept: list[bool], num_classes: int, is_shared: bool
) -> tuple[list[float], float]:
    """kappa of every class and their middle value.

    Classes of fewer than 10 kept rows, or than the largest class has, get the median of the others.
    """
    members = {
        k: np.array([i for i in range(len(rows)) if labels[i] == k and kept[i]], dtype=int)
        for k in range(num_classes)
    }
    enough = min(10, max(len(each) for each in members.values()))
    own = {k: concentration(rows[m]) for k, m in members.items() if len(m) >= enough}
    median = lower_median(list(own.values()))
    every = [median if is_shared else own.get(k, median) for k in range(num_classes)]
    return every, lower_median(every)


def lower_median(values: list[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]


def vmf_log_score(
    i: int, rows: Array, labels: Labels, kept: list[bool], num_classes: int, is_shared: bool
) -> float | None:
    """log P of row i over the middle kappa; None where its class has no other kept row."""
    kappa, middle = concentrations(rows, labels, kept, num_classes, is_shared)
    logits = {}
    for k in range(num_classes):
        members = [j for j in range(len(rows)) if labels[j] == k and kept[j] and j != i]
        if members:
            centre = np.sum(rows[members], axis=0)
            cosine = float(centre @ rows[i]) / sqrt(float(centre @ centre))
            logits[k] = log_normaliser(kappa[k], rows.shape[1]) + kappa[k] * cosine
    own = logits.get(int(labels[i]))
    if own is None:
        return None
    highest = max(logits.values())
    total = highest + log(sum(exp(logit - highest) for logit in logits.values()))
    return (own - total) / middle


def vmf(
    rows: Array, labels: Labels, num_classes: int, noise_rate: float, passes: int, is_shared: bool
) -> tuple[list[float], list[bool]]:
    """log scores and decisions; from the second pass on from the kept rows."""
    kept, scores = [True] * len(rows), [0.0] * len(rows)
    for _ in range(passes):
        found = [
            vmf_log_score(i, rows, labels, kept, num_classes, is_shared) for i in range(len(rows))
        ]
        scores = [old if new is None else new for old, new in zip(scores, found, strict=True)]
        kept = keep_highest(scores, noise_rate)
    return scores, kept


def densities(rows: Array, share: float) -> list[int]:
    """rho_i = #{j: D_ij < d_c} - 1, d_c = element int(share n^2) of the n^2 sorted distances."""
    n = len(rows)
    distance = [[float(np.linalg.norm(a - b)) for b in rows] for a in rows]
    ordered = sorted(value for line in distance for value in line)
    cutoff = ordered[min(int(share * n * n), n * n - 1)]
    # A pair at the cutoff itself is not below it, whatever the last bit says.
    return [max(sum(value < cutoff - 1e-9 for value in line) - 1, 0) for line in distance]


def three_groups(values: list[int]) -> list[int]:
    """0 for the highest group, 2 for the lowest: the best of all pairs of cuts."""
    distinct = sorted(set(values))
    if len(distinct) < 3:
        return [0] * len(values)

    def deviation(low: float, high: float) -> float:
        group = [value for value in values if low <= value < high]
        return float(np.sum((np.array(group) - np.mean(group)) ** 2))

    first, second = min(
        combinations(distinct[1:], 2),
        key=lambda cuts: (
            deviation(-1, cuts[0]) + deviation(*cuts) + deviation(cuts[1], float("inf"))
        ),
    )
    return [2 - (value >= first) - (value >= second) for value in values]
