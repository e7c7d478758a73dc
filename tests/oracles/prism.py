"""PRISM in plain loops: float64, one row and one class at a time.

`full` is the project's form on all rows; `Queue` is the published form, batch by batch.
"""

from __future__ import annotations

from fractions import Fraction
from math import exp, sqrt

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def num_dropped(noise_rate: float, rows: int) -> int:
    """int(R * B) in exact arithmetic: 0.3 of 10 rows is 3."""
    return int(Fraction(str(noise_rate)) * rows)


def full_probability(
    i: int,
    rows: Array,
    labels: Labels,
    kept: list[bool],
    num_classes: int,
    scale: float,
    is_unit: bool,
) -> float | None:
    """P of row i: softmax over classes, compared by their kept rows without row i itself.

    By the cosine to their mean, or by the average of the cosines to them, one by one. A class
    without such rows takes no part. None where that is the row's own class.
    """
    share = {}
    for k in range(num_classes):
        members = [j for j in range(len(rows)) if labels[j] == k and kept[j] and j != i]
        if members:
            centre = np.sum(rows[members], axis=0)
            cosine = float(centre @ rows[i]) / sqrt(float(centre @ centre))
            average = sum(float(rows[j] @ rows[i]) for j in members) / len(members)
            share[k] = exp(scale * (cosine if is_unit else average))
    own = share.get(int(labels[i]))
    return None if own is None else own / sum(share.values())


def keep_highest(scores: list[float], noise_rate: float) -> list[bool]:
    """Drops the int(R * N) rows of lowest score; of equal scores the earlier row first."""
    order = sorted(range(len(scores)), key=lambda i: (scores[i], i))
    dropped = set(order[: num_dropped(noise_rate, len(scores))])
    return [i not in dropped for i in range(len(scores))]


def full(
    rows: Array,
    labels: Labels,
    num_classes: int,
    noise_rate: float,
    scale: float,
    passes: int,
    is_unit: bool = True,
) -> tuple[list[float], list[bool]]:
    """Scores and decisions; from the second pass on centres come from the kept rows.

    A row that is alone in its class has P = 1 ("unknown"). A row whose classmates were all dropped
    keeps its score of the pass before.
    """
    kept, scores = [True] * len(rows), [1.0] * len(rows)
    for _ in range(passes):
        found = [
            full_probability(i, rows, labels, kept, num_classes, scale, is_unit)
            for i in range(len(rows))
        ]
        scores = [old if new is None else new for old, new in zip(scores, found, strict=True)]
        kept = keep_highest(scores, noise_rate)
    return scores, kept


def queue_probability(x: Array, label: int, bank: list[tuple[Array, int]]) -> float:
    """P of one row by the unaccelerated form: T(x, k) = mean cosine to the bank's rows of class k.

    1 for a class that the bank lacks ("unknown"); such a class is not in the denominator either.
    """
    means = {}
    for k in {stored for _, stored in bank}:
        cosines = [float(x @ row) for row, stored in bank if stored == k]
        means[k] = sum(cosines) / len(cosines)
    if label not in means:
        return 1.0
    return exp(means[label]) / sum(exp(mean) for mean in means.values())


class Queue:
    """The thresholds of the published form: the window of the last Q, or each batch's own Q."""

    def __init__(self, noise_rate: float, window: int, *, is_smooth: bool = True) -> None:
        self.noise_rate, self.size, self.is_smooth = noise_rate, window, is_smooth
        self.window: list[float] = []

    def decide(self, p_clean: list[float]) -> list[bool]:
        """Decides which rows of one batch are kept.

        Q = the largest of the int(R * B) lowest P. It enters the window, this batch's included,
        unless it is 1 ("unknown"). Kept: P above the mean of the window, or above Q where the
        window is empty or not asked for; rows with that P that are not among the int(R * B) lowest,
        the earlier of equal ones counting as lower; and unknown rows. If nothing is kept, Q alone
        decides and the window is cut to its last value. With int(R * B) = 0 nothing is dropped.
        """
        count = num_dropped(self.noise_rate, len(p_clean))
        if count == 0:
            return [True] * len(p_clean)
        q = sorted(p_clean)[count - 1]
        if q != 1:
            self.window = [*self.window, q][-self.size :]
        lowest = sorted(range(len(p_clean)), key=lambda i: (p_clean[i], i))[:count]

        def above(threshold: float) -> list[bool]:
            return [
                p > threshold or p == 1 or (p == threshold and i not in lowest)
                for i, p in enumerate(p_clean)
            ]

        is_smooth = self.is_smooth and self.window
        kept = above(sum(self.window) / len(self.window) if is_smooth else q)
        if not any(kept):
            self.window = self.window[-1:]
            kept = above(q)
        return kept
