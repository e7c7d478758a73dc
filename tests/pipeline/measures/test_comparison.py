"""Paired differences, against the paired t-test of SciPy and a result by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.measures.comparison import paired_difference


def test_three_differences_by_hand():
    """Differences 1, 2, 3: mean 2, deviation 1, t(0.975, 2) = 4.3027, so 4.3027 / sqrt(3)."""
    found = paired_difference({0: 2.0, 1: 4.0, 2: 6.0}, {0: 1.0, 1: 2.0, 2: 3.0})
    assert found is not None
    assert found.mean == pytest.approx(2)
    assert found.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert found.seeds == 3


def test_it_is_the_interval_of_the_paired_t_test():
    generator = np.random.default_rng(0)
    shared = generator.normal(size=8)
    ours, theirs = shared + generator.normal(0.3, 0.1, 8), shared + generator.normal(0, 0.1, 8)
    found = paired_difference(dict(enumerate(ours)), dict(enumerate(theirs)))
    interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert found is not None
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx(tuple(interval))


def test_only_seeds_that_both_have_are_compared():
    found = paired_difference({0: 1.0, 1: 5.0, 3: 9.0}, {1: 4.0, 2: 0.0, 3: 6.0})
    assert found is not None
    assert (found.mean, found.seeds) == (2.0, 2)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_one_seed_has_no_interval():
    found = paired_difference({0: 1.0}, {0: 0.5})
    assert found is not None
    assert found.mean == 0.5
    assert math.isnan(found.half)
