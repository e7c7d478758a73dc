"""Small-cluster noise: whole classes are dissolved and handed to others, a few alike images each.

Open-set noise: classes are visited in random order. The images that carry a class's label are split
by k-means into floor(n / 2) clusters, each cluster goes to a random other class, and the class is
gone; this stops as soon as the share of wrong labels reaches the rate. The surviving classes keep
all their images. A cluster may go to a class that is dissolved later, which is then clustered
together with what it received; with `single_pass` clusters go to surviving classes only.

Source: Liu et al., CVPR 2021, arXiv 2103.16047 (PRISM); the procedure is read off their published
lists, the number of clusters off the public code of a later comparison. Departure: the clusters are
those of this store's frozen features, of unit norm (k-means by SciPy, from random images of the
class); the features of the published lists are not known.
"""

from __future__ import annotations

import warnings
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from cache.errors import InputError
from pipeline.noise._subject import Corrupted, Labels, Subject


def corrupt(
    subject: Subject,
    generator: np.random.Generator,
    *,
    rate: Annotated[float, "at least 0, below 1"],
    single_pass: bool = False,
) -> Corrupted:
    """Dissolve classes; those that are left are numbered from 0.

    Args:
        subject: N rows with features.
        generator: draws the order of the classes, the clusters' starts and their new classes.
        rate: share of the rows that get another label, at least 0, below 1; it is exceeded by less
            than one class.
        single_pass: whether clusters go to classes that survive only.

    Raises:
        InputError: fewer than two classes would be left.
    """
    labels, num_classes = subject.labels, len(subject.classes)
    dissolved = _dissolved(labels, generator.permutation(num_classes), rate)
    if num_classes - len(dissolved) < 2:
        raise InputError(
            f"noise small-cluster:{rate} leaves {num_classes - len(dissolved)} of {num_classes} "
            "classes, expected at least 2: lower the rate"
        )
    if subject.features is None:
        raise ValueError("small-cluster noise needs features")
    noisy = labels.copy()
    targets = np.ones(num_classes, dtype=bool)
    if single_pass:
        targets[dissolved] = False
    for label in dissolved:
        targets[label] = False
        rows = np.flatnonzero(noisy == label)
        clusters = _clusters(_unit(subject.features(rows)), max(1, len(rows) // 2), generator)
        new = generator.choice(np.flatnonzero(targets), clusters.max() + 1)
        noisy[rows] = new[clusters]
    left = np.setdiff1d(np.arange(num_classes), dissolved)
    classes = tuple(subject.classes[label] for label in left)
    return Corrupted(np.searchsorted(left, noisy), classes, rate)


def _dissolved(labels: Labels, order: Labels, rate: float) -> Labels:
    """Take classes in order until their rows, which all turn wrong, are at least the share."""
    wrong = np.cumsum(np.bincount(labels, minlength=len(order))[order])
    # The share is rounded as a decimal: 0.55 of 100 rows are 55, though 0.55 * 100 > 55 in binary.
    count = np.searchsorted(wrong, round(rate * len(labels), 6)) + 1 if rate > 0 else 0
    return order[:count]


def _unit(features: NDArray[np.floating]) -> NDArray[np.float32]:
    values = features.astype(np.float32)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.maximum(norms, 1e-12), dtype=np.float32)


def _clusters(rows: NDArray[np.float32], count: int, generator: np.random.Generator) -> Labels:
    """Split (n, F) rows by k-means; returns (n,) cluster numbers, some of which may be unused."""
    starts = rows[generator.choice(len(rows), count, replace=False)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # equal rows leave clusters empty: fewer then
        _, clusters = kmeans2(rows, starts, minit="matrix")
    return np.asarray(clusters, dtype=np.int64)
