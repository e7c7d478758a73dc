"""Comparing two methods on the seeds that both have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pipeline.measures.intervals import mean_and_interval


class Difference(NamedTuple):
    """A paired difference.

    Attributes:
        mean: of method minus baseline.
        half: half width of its 95 % interval; NaN for one seed.
        seeds: how many both had.
    """

    mean: float
    half: float
    seeds: int


def paired_difference(
    values: Mapping[int, float], baseline: Mapping[int, float]
) -> Difference | None:
    """Average the differences on equal seeds, with the interval of Student's paired t-test.

    A seed decides start, batches and noise, so what both runs of a seed share falls out: the
    interval is that of the differences, not one made of two intervals.

    Args:
        values: seed -> the method's figure.
        baseline: seed -> the baseline's figure.

    Returns:
        None where no seed is in both.
    """
    both = sorted(values.keys() & baseline.keys())
    if not both:
        return None
    mean, half = mean_and_interval(np.array([values[seed] - baseline[seed] for seed in both]))
    return Difference(mean, half, len(both))
