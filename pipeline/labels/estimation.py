"""How many labels are wrong, and which classes are mixed up, without knowing any right label.

The noise rate is `estimate_noise_rate`: exact for symmetric noise, so noise that falls on alike
classes is underestimated. The transition matrix is `estimate_transition`. How far both can be
trusted is shown on the same features: known symmetric noise is injected on top of the labels, and
what is estimated then stands beside what is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cache.store import Features, FeatureStore
from pipeline.choices.settings import Settings
from pipeline.labels.training import TrainingLabels, training_labels
from pipeline.measures.label_posterior import estimate_noise_rate
from pipeline.measures.transition import MOST_CLASSES, counted_matrix, estimate_transition
from pipeline.program.rows import tiles
from pipeline.training import protocol as protocols
from pipeline.transforms.fitting import fit

INJECTED = (0.2, 0.4)
_LEAST_ROWS = 0.5  # a confusion of less than half a row is none


class Confusion(NamedTuple):
    """Two classes that are mixed up.

    Attributes:
        right: the class that the features suggest.
        given: the label that such rows have.
        share: of the rows of `right`, in [0, 1].
    """

    right: str
    given: str
    share: float


@dataclass(frozen=True)
class Trial:
    """Symmetric noise injected on top of the labels.

    Attributes:
        injected: share of the labels that it changed.
        expected: share of wrong labels then: counted where right labels are known, else what the
            estimate on the given labels and the injected share come to.
        estimated: share of wrong labels estimated from the features.
        transition_error: mean over the classes of the share of labels that the estimated matrix
            puts into wrong cells, in [0, 1], measured against the estimate on the given labels
            followed by the noise as it was drawn; None where a matrix has too many classes.
    """

    injected: float
    expected: float
    estimated: float
    transition_error: float | None


@dataclass(frozen=True)
class Estimate:
    """What the features say about the labels.

    Attributes:
        rows: N training rows.
        classes: C.
        noise_rate: estimated share of wrong labels.
        known_rate: the same by the right labels of the manifest; None where it has none.
        confusions: the largest entries beside the diagonal of the estimated matrix.
        trials: how right the estimates are on noise that is known.
    """

    rows: int
    classes: int
    noise_rate: float
    known_rate: float | None
    confusions: list[Confusion]
    trials: list[Trial]


def estimate(
    store: FeatureStore,
    *,
    protocol: protocols.Name | None = None,
    seed: int = 0,
    listed: int = 10,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Estimate:
    """Estimate the noise of the training labels of a store.

    Args:
        store: a complete store.
        protocol: which rows train; None = what the store's splits suggest.
        seed: of the noise that is injected to check the estimate.
        listed: how many confusions to list.
        progress: is told the finished and the total estimates.

    Raises:
        InputError: there are no rows to train on.
        StoreIncompleteError: the extraction has not finished.
    """
    features = store.read()
    roles = protocols.split(features.rows, protocol)
    values = torch.from_numpy(features.values[roles.train])
    unit = functional.normalize(fit("centre", lambda: tiles(values))(values), dim=1)
    given = training_labels(roles, Settings(), features)
    rate, matrix = _estimates(unit, given)
    trials = []
    for at, injected in enumerate(INJECTED, start=1):
        progress(at, 1 + len(INJECTED))
        noisy = _injected(roles, injected, seed, features)
        trials.append(_trial(unit, given, noisy, rate, matrix))
    progress(1 + len(INJECTED), 1 + len(INJECTED))
    return Estimate(
        rows=len(unit),
        classes=len(given.classes),
        noise_rate=rate,
        known_rate=None if given.is_wrong is None else float(given.is_wrong.mean()),
        confusions=_largest(matrix, given, listed),
        trials=trials,
    )


def _injected(roles: protocols.Split, rate: float, seed: int, features: Features) -> TrainingLabels:
    return training_labels(roles, Settings(noise=f"symmetric:{rate}", seed=seed), features)


def _trial(
    unit: Tensor, given: TrainingLabels, noisy: TrainingLabels, rate: float, matrix: Tensor | None
) -> Trial:
    """Estimate again with noise on top, and compare with what has to come out."""
    num_classes, injected = len(given.classes), noisy.injected or 0.0
    estimated, found = _estimates(unit, noisy)
    # A wrong label may turn right again, by 1 in C - 1.
    expected = 1 - ((1 - rate) * (1 - injected) + rate * injected / (num_classes - 1))
    if given.is_wrong is not None and noisy.is_wrong is not None:
        expected = float(noisy.is_wrong.mean())
    error = None
    if matrix is not None and found is not None:
        before, after = torch.from_numpy(given.used), torch.from_numpy(noisy.used)
        drawn = counted_matrix(before, after, num_classes)
        error = float((found - matrix @ drawn).abs().sum(dim=1).mean() / 2)
    return Trial(injected, expected, estimated, error)


def _estimates(unit: Tensor, labels: TrainingLabels) -> tuple[float, Tensor | None]:
    """Estimate the noise rate and, where it fits, the transition matrix (C, C)."""
    used, num_classes = torch.from_numpy(labels.used), len(labels.classes)
    rate = float(estimate_noise_rate(unit, used, num_classes))
    if num_classes > MOST_CLASSES:
        return rate, None
    return rate, estimate_transition(unit, used, num_classes)


def _largest(matrix: Tensor | None, labels: TrainingLabels, count: int) -> list[Confusion]:
    """List the largest entries beside the diagonal, of those that come to a row at all."""
    if matrix is None:
        return []
    classes, sizes = labels.classes, np.bincount(labels.used)
    beside = matrix.clone().fill_diagonal_(0).flatten()
    shares, places = beside.topk(min(count, len(beside)))
    return [
        Confusion(classes[place // len(classes)], classes[place % len(classes)], share)
        for share, place in zip(shares.tolist(), places.tolist(), strict=True)
        if share * sizes[place // len(classes)] >= _LEAST_ROWS
    ]
