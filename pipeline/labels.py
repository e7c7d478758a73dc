"""The labels that a training works with, and what is known about them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.choices.settings import Settings
from pipeline.corruption import NoiseSpec
from pipeline.protocol import Split

Rows = NDArray[np.int64]


class TrainingLabels(NamedTuple):
    """Labels of the N training rows.

    Attributes:
        used: (N,) int64 in 0..C-1, what the loss and the selection see.
        classes: C names.
        is_wrong: (N,) bool, where it is known which labels are wrong; for the record only.
        injected: share of labels that the noise changed; None without noise.
    """

    used: Rows
    classes: tuple[str, ...]
    is_wrong: NDArray[np.bool_] | None
    injected: float | None


def training_labels(roles: Split, settings: Settings) -> TrainingLabels:
    """Number the training classes and inject the noise.

    True labels end here: they only say afterwards which labels were wrong.
    """
    given, true = roles.given[roles.train], roles.true[roles.train]
    present, dense = np.unique(given, return_inverse=True)
    used = dense.astype(np.int64)
    classes = tuple(roles.classes[number] for number in present)
    if settings.noise is None:
        known = bool((roles.given != roles.true).any())
        return TrainingLabels(used, classes, given != true if known else None, None)
    noisy = NoiseSpec.parse(settings.noise).apply(used, len(classes), settings.seed)
    return TrainingLabels(noisy, classes, present[noisy] != true, float((noisy != used).mean()))


def true_classes(roles: Split) -> Rows:
    """Number the true class of every training row as `training_labels` numbers the labels.

    For measuring alone: neither a loss nor a selection is shown them. A true class that no given
    label has gets a number of its own behind the others.

    Returns:
        (N,) int64.
    """
    given, true = roles.given[roles.train], roles.true[roles.train]
    known = np.unique(given)
    strange = np.setdiff1d(true, known)
    order = np.concatenate([known, strange])
    number = np.empty(order.max() + 1, dtype=np.int64)
    number[order] = np.arange(len(order))
    return number[true]
