"""Means over seeds, with their uncertainty."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def mean_and_interval(values: NDArray[np.floating], level: float = 0.95) -> tuple[float, float]:
    """Average n values and give the half width of the mean's Student-t interval.

    Args:
        values: (n,) one value per seed.
        level: of confidence, in (0, 1).

    Returns:
        The mean, and t * s / sqrt(n) with n - 1 degrees of freedom; NaN for n = 1.
    """
    count = len(values)
    if count < 2:
        return float(np.mean(values)), math.nan
    spread = float(np.std(values, ddof=1)) / math.sqrt(count)
    return float(np.mean(values)), float(stats.t.ppf((1 + level) / 2, count - 1)) * spread
