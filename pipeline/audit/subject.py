"""What an audit looks at: the training images of a store, or those that a run was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache.errors import InputError
from cache.store import Features, FeatureStore
from pipeline.choices.settings import Settings
from pipeline.labels.corrected import corrected
from pipeline.labels.training import training_labels, true_classes
from pipeline.runs.record import Run
from pipeline.training import protocol
from pipeline.training.validation import hold_out

_FEWEST_ROWS = 4


@dataclass(frozen=True)
class Truth:
    """What is known about the labels beforehand; it says how good an audit is, and nothing else.

    Attributes:
        is_wrong: (N,) bool.
        classes: (N,) int64, the right class, numbered as the labels are; a class that no label has
            comes behind them.
    """

    is_wrong: NDArray[np.bool_]
    classes: NDArray[np.int64]


@dataclass(frozen=True)
class Subject:
    """The N training images.

    Attributes:
        ids: of the images.
        paths: of the images, as in the manifest.
        features: (N, F) as the backbone gave them.
        labels: (N,) int64 in 0..C-1, with injected noise if there was any.
        classes: C names; each has a row.
        dynamics: (N,) float32 in [0, 1], how suspicious a run found each label; None without a run
            that tells.
        truth: None where it is not known.
    """

    ids: tuple[str, ...]
    paths: tuple[str, ...]
    features: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    dynamics: Tensor | None
    truth: Truth | None


def of_store(
    store: FeatureStore, *, noise: str | None = None, seed: int = 0, features: str | None = None
) -> Subject:
    """Take the training split of a store, or all its images where it has none.

    Args:
        store: a complete store.
        noise: a spec of labels to make wrong first, as in `dml train --noise`.
        seed: of that noise.
        features: which of the store's features.

    Raises:
        InputError: there are too few images or classes, or the noise does not fit them.
    """
    settings = Settings(noise=noise, seed=seed).check()
    read = store.choose(features).read()
    return _subject(read, protocol.everything(read.rows), settings, None)


def of_run(run: Run, store: FeatureStore) -> Subject:
    """Take the images that a run was trained on, with the labels that it was trained with.

    Raises:
        InputError: the run's list of labels is not that of these images.
    """
    settings = run.settings
    read = store.choose(settings.features).read()
    roles = protocol.split(read.rows, settings.protocol)
    roles = corrected(roles, settings.labels, read.rows, read.manifest)
    if settings.validation is not None:
        kind, folds, fold = settings.validation, settings.folds, settings.fold
        roles = hold_out(roles, kind, folds=folds, fold=fold).train
    table = run.labels()
    subject = _subject(read, roles, settings, _dynamics(table["score"].to_numpy()))
    names = [subject.classes[number] for number in subject.labels.tolist()]
    if table["id"].to_pylist() != list(subject.ids) or table["label"].to_pylist() != names:
        raise InputError(
            f"{run.path / 'labels.parquet'} lists other images or labels than {store.path} and the "
            "run's settings give: train again, or audit the store"
        )
    return subject


def _dynamics(scores: NDArray[np.floating]) -> Tensor | None:
    """Turn a run's scores (low = suspicious) round; equal scores tell nothing."""
    if len(scores) == 0 or scores.min() == scores.max():
        return None
    return 1 - torch.from_numpy(scores.astype(np.float32)).clamp(0, 1)


def _subject(
    read: Features, roles: protocol.Split, settings: Settings, dynamics: Tensor | None
) -> Subject:
    rows = read.rows.take(roles.train)
    found = training_labels(roles, settings, read)
    present, labels = np.unique(found.used, return_inverse=True)
    if len(present) < 2 or len(labels) < _FEWEST_ROWS:
        raise InputError(
            f"{len(labels)} training images of {len(present)} classes: an audit compares at least "
            f"{_FEWEST_ROWS} images of at least 2 classes; check the labels and the split column"
        )
    truth = None
    if found.is_wrong is not None:
        true = true_classes(roles, found)
        number = np.full(max(len(found.classes), int(true.max()) + 1), -1)
        number[present] = np.arange(len(present))
        number[number < 0] = len(present) + np.arange((number < 0).sum())
        truth = Truth(found.is_wrong, number[true])
    values = torch.from_numpy(read.values[roles.train])
    if bool((values == values[0]).all()):
        raise InputError(f"all {len(values)} training images have equal features: check the images")
    return Subject(
        ids=tuple(rows["id"].to_pylist()),
        paths=tuple(rows["path"].to_pylist()),
        features=values,
        labels=torch.from_numpy(labels.astype(np.int64)),
        classes=tuple(found.classes[at] for at in present),
        dynamics=dynamics,
        truth=truth,
    )
