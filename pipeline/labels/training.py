"""The labels that a training works with, and what is known about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.choices.settings import Settings
from pipeline.labels.corruption import NoiseSpec
from pipeline.noise._subject import Subject
from pipeline.training.protocol import Split

Rows = NDArray[np.int64]


class Values(Protocol):
    """Features by row: those of rows (n,), (n, F)."""

    def __getitem__(self, rows: Rows, /) -> NDArray[np.floating]:
        """Take the rows."""


class Source(Protocol):
    """What labels are made of: `cache.store.Features`, or the same with the values on the disk."""

    @property
    def rows(self) -> pa.Table:
        """The store's readable rows."""

    @property
    def manifest(self) -> str:
        """Digest of the manifest's ids."""

    @property
    def values(self) -> Values:
        """Raw features of the rows."""


class TrainingLabels(NamedTuple):
    """Labels of the N training rows.

    Attributes:
        used: (N,) int64 in 0..C-1, what the loss and the selection see.
        classes: C names; a noise may take classes away or bring new ones.
        is_wrong: (N,) bool, where it is known which labels are wrong; for the record only.
        injected: share of labels that the noise changed; None without noise.
        nominal: share that it was asked to change; None without noise, or where nobody said it.
    """

    used: Rows
    classes: tuple[str, ...]
    is_wrong: NDArray[np.bool_] | None
    injected: float | None
    nominal: float | None = None


def training_labels(roles: Split, settings: Settings, features: Source) -> TrainingLabels:
    """Number the training classes and inject the noise.

    True labels end here: they only say afterwards which labels were wrong.

    Args:
        roles: of the store's rows.
        settings: with the noise and its seed.
        features: of the same rows; some noise models look at them.

    Raises:
        InputError: the noise cannot be applied to these rows.
    """
    given, true = roles.given[roles.train], roles.true[roles.train]
    present, dense = np.unique(given, return_inverse=True)
    used = dense.astype(np.int64)
    classes = tuple(roles.classes[number] for number in present)
    if settings.noise is None:
        known = bool((roles.given != roles.true).any())
        return TrainingLabels(used, classes, given != true if known else None, None)
    subject = _subject(used, classes, features, roles.train)
    noisy = NoiseSpec.parse(settings.noise).apply(subject, settings.seed_of_noise)
    now = _numbers(noisy.classes, roles.classes)[noisy.labels]  # as `given` and `true` are numbered
    changed = float((now != given).mean())
    return TrainingLabels(noisy.labels, noisy.classes, now != true, changed, noisy.nominal)


def true_classes(roles: Split, labels: TrainingLabels) -> Rows:
    """Number the true class of every training row as its label is numbered.

    For measuring alone: neither a loss nor a selection is shown them. A true class that no label
    has, such as one that the noise dissolved, gets a number of its own behind the others.

    Returns:
        (N,) int64.
    """
    true = roles.true[roles.train]
    known = _numbers(labels.classes, roles.classes)
    strange = np.setdiff1d(true, known)
    number = np.full(max(len(roles.classes), known.max() + 1), -1, dtype=np.int64)
    number[known] = np.arange(len(known))
    number[strange] = len(known) + np.arange(len(strange))
    return number[true]


def _subject(used: Rows, classes: tuple[str, ...], features: Source, train: Rows) -> Subject:
    rows = features.rows.take(train)
    has_superlabels = "superlabel" in rows.column_names
    return Subject(
        labels=used,
        classes=classes,
        ids=tuple(rows["id"].to_pylist()),
        paths=tuple(rows["path"].to_pylist()),
        superlabels=tuple(rows["superlabel"].to_pylist()) if has_superlabels else None,
        features=lambda chosen: features.values[train[chosen]],
        manifest=features.manifest,
    )


def _numbers(classes: Sequence[str], known: Sequence[str]) -> Rows:
    """Number classes as the store does; those that it does not know come behind."""
    number = {name: at for at, name in enumerate(known)}
    for name in classes:
        number.setdefault(name, len(number))
    return np.array([number[name] for name in classes], dtype=np.int64)
