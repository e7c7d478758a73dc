"""How well a clustering agrees with classes: NMI and AMI.

NMI = I(U; V) / m, AMI = (I(U; V) - E[I]) / (m - E[I]), with the mutual information I of classes U
and clusters V, m = (H(U) + H(V)) / 2 and the expectation of I over random clusterings with the same
sizes (Vinh, Epps, Bailey 2010, JMLR 11, equation 24a). Both are 1 for equal partitions. NMI grows
with the number of clusters even where they are drawn at random; AMI is 0 there on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Agreement:
    """Of clusters with classes.

    Attributes:
        nmi: normalised mutual information in [0, 1].
        ami: adjusted mutual information, at most 1; about 0, also below, for a random clustering.
        num_clusters: clusters that were asked for.
    """

    nmi: float
    ami: float
    num_clusters: int


def agreement(labels: Numbers, clusters: Numbers, num_clusters: int) -> Agreement:
    """Compare two partitions of N rows, (N,) int64 each, whatever their numbers are."""
    classes, u = np.unique(labels, return_inverse=True)
    groups, v = np.unique(clusters, return_inverse=True)
    if len(classes) == len(groups) == 1:  # equal partitions without any information
        return Agreement(1.0, 1.0, num_clusters)
    a, b = np.bincount(u), np.bincount(v)
    mutual = _mutual_information(u, v, a, b)
    mean = (_entropy(a) + _entropy(b)) / 2
    chance = _expected_mutual_information(a, b)
    rest = mean - chance  # about 0 where every row is a class and a cluster of its own
    ami = 1.0 if abs(mean - mutual) < 1e-12 else float((mutual - chance) / rest)
    return Agreement(float(mutual / mean), ami, num_clusters)


def _entropy(sizes: Numbers) -> float:
    share = sizes / sizes.sum()
    return float(-(share * np.log(share)).sum())


def _mutual_information(u: Numbers, v: Numbers, a: Numbers, b: Numbers) -> float:
    """Sums over the pairs of class and cluster that occur: a full table could be huge."""
    pairs, counts = np.unique(u * len(b) + v, return_counts=True)
    total = len(u)
    terms = counts / total * np.log(total * counts / (a[pairs // len(b)] * b[pairs % len(b)]))
    return max(0.0, float(terms.sum()))


def _expected_mutual_information(a: Numbers, b: Numbers) -> float:
    """Sums over pairs of different sizes, each as often as it occurs."""
    total = int(a.sum())
    expected = 0.0
    for size_a, times_a in zip(*np.unique(a, return_counts=True), strict=True):
        for size_b, times_b in zip(*np.unique(b, return_counts=True), strict=True):
            expected += times_a * times_b * _expected_term(int(size_a), int(size_b), total)
    return float(expected)


def _expected_term(a: int, b: int, total: int) -> float:
    """Sums n/N log(N n / (a b)) over the hypergeometric distribution of the overlap n."""
    n = np.arange(max(1, a + b - total), min(a, b) + 1)
    log_probability = (
        gammaln([a + 1, b + 1, total - a + 1, total - b + 1]).sum()
        - gammaln(total + 1)
        - gammaln(n + 1)
        - gammaln(a - n + 1)
        - gammaln(b - n + 1)
        - gammaln(total - a - b + n + 1)
    )
    terms = n / total * np.log(total * n / (a * b)) * np.exp(log_probability)
    return float(terms.sum())
