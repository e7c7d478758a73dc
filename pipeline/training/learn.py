"""Training R runs on the same rows, from a store's features to what each has learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from cache.errors import InputError
from pipeline.auto.choose import Choice, choose
from pipeline.choices import catalogue
from pipeline.choices.assembly import method_of, schedule_of
from pipeline.choices.recipes import AUTO
from pipeline.choices.settings import Settings
from pipeline.labels.corrected import corrected
from pipeline.labels.training import Source, TrainingLabels, training_labels
from pipeline.program.fit import Fit, Runs, fit
from pipeline.program.learner import Task, refuse_looks
from pipeline.program.loop import Way
from pipeline.program.rows import (
    Rows,
    Streamed,
    as_stored,
    chosen,
    gathered,
    raw_tiles,
    refuse_streamed,
)
from pipeline.program.snapshots import snapshot
from pipeline.selection._state import State
from pipeline.training.closed_form import head_of, statistics_of, weigh
from pipeline.training.loading import shown_of
from pipeline.training.protocol import Split
from pipeline.training.starting import start_of
from pipeline.training.validation import HeldOut, Validator, hold_out
from pipeline.transforms.fitting import fit as fit_transform
from pipeline.transforms.transform import Transform

Progress = Callable[[int, int], None]
Tensors = dict[str, Tensor]
_VALIDATION = "validation/"  # prefix of the validator's tensors in a snapshot


class Selected(NamedTuple):
    """The epoch that validation prefers.

    Attributes:
        epoch: its number, from 1.
        map_at_r: on the validation rows, in [0, 1].
        head: as it was after that epoch.
    """

    epoch: int
    map_at_r: float
    head: Tensors


@dataclass(frozen=True)
class Learned:
    """What one run has learned.

    Attributes:
        transform: of raw features, fitted to the training rows.
        labels: of its training rows.
        roles: the store's rows as this run used them.
        state: of its selection.
        head: after the last epoch; empty where nothing is trained.
        parameters: the loss's own.
        selected: the preferred epoch; None without validation.
        history: figures of each epoch; with validation also the epochs that were looked at.
        facts: what the loss says of all training rows in the end.
        choice: how "auto" came to this head; None where somebody else chose.
    """

    transform: Transform
    labels: TrainingLabels
    roles: Split
    state: State
    head: Tensors
    parameters: Tensors
    selected: Selected | None
    history: dict[str, list[float]]
    facts: dict[str, float]
    choice: Choice | None = None


def learn(
    values: Rows,
    source: Source,
    roles: Split,
    runs: Sequence[Settings],
    *,
    pictures: Sequence[Streamed] = (),
    progress: Progress = lambda done, total: None,
    earlier: Mapping[str, Tensor] | None = None,
    keep: Callable[[Callable[[], Tensors]], None] = lambda copy: None,
    until: int | None = None,
    way: Way | None = None,
) -> list[Learned | InputError]:
    """Train runs as one program, or compute their heads where nothing is trained.

    Args:
        values: (M, F) raw features of all rows of the store, on the device that trains or on the
            way there.
        source: the same rows as they were read; the noise may look at them.
        roles: which of them train, before labels are corrected.
        runs: settings with equal `Settings.shared`.
        pictures: raw features of each picture, where steps draw among them, see `pictures_of`.
        progress: is told the finished and the total epochs.
        earlier: a snapshot of the same runs to go on from.
        keep: is offered a way to copy the state after every epoch but the last.
        until: the epoch to stop after, on the way to the settings' last; None = that one.
        way: how steps are taken, see `Program`.

    Returns:
        For each run what it has learned, or why it could not: its labels, its loss and its
        selection do not work together, or it diverged.

    Raises:
        InputError: the rows cannot be divided, no row of a label can validate, or a method needs
            all features at once and they are on the disk.
    """
    common = runs[0]
    if common.views is not None and common.recipe.loss is not None and not pictures:
        raise ValueError("steps are to draw among pictures, and there are none")
    roles = corrected(roles, common.labels, source.rows, source.manifest)
    held: HeldOut | None = None
    if common.validation is not None:
        held = hold_out(roles, common.validation, folds=common.folds, fold=common.fold)
        roles = held.train
    if isinstance(values, Streamed):
        _refuse_looks(values.only(roles.train), common)
    labels = [training_labels(roles, each, source) for each in runs]
    if common.loss == AUTO:
        pairs = zip(labels, runs, strict=True)
        return [_chosen(values, roles, own, each, progress) for own, each in pairs]
    transform = fit_transform(common.recipe.transform, lambda: raw_tiles(values, roles.train))
    features = chosen(values, roles.train, transform)
    if common.recipe.loss is None:
        pairs = zip(labels, runs, strict=True)
        return [_computed(features, transform, roles, own, each) for own, each in pairs]
    shown = shown_of(pictures, roles.train, transform, features.shape[1])
    validator, done = None, 0
    if held is not None:
        every = common.validate_every
        validator = Validator(held, runs, source, values, every=every, change=transform)
        if earlier is not None:
            validator.restore(_of_validator(earlier))

    def observe(learners: Runs) -> None:
        nonlocal done
        done = epoch = next(iter(learners.values())).epochs_done
        if validator is not None and epoch > (validator.epochs or [0])[-1]:
            validator.look(learners)
        if epoch < common.epochs:
            keep(lambda: _copy(learners, validator))

    def is_over() -> bool:
        is_exhausted = validator is not None and validator.is_exhausted(common.patience)
        return is_exhausted or done == until

    results = fit(
        features,
        [
            _task(own, each, values.device, pictures=len(pictures))
            for own, each in zip(labels, runs, strict=True)
        ],
        progress,
        shown=shown,
        snapshot=_of_runs(earlier or {}),
        observe=observe,
        is_over=is_over,
        way=way,
    )
    return [
        found
        if isinstance(found, InputError)
        else _learned(found, transform, validator, run, labels[run], roles)
        for run, found in enumerate(results)
    ]


def _refuse_looks(features: Rows, settings: Settings) -> None:
    """Refuse rows on the disk for methods that need all of them at once, before they are read."""
    if settings.views is not None:
        raise InputError(
            f"--views {settings.views} draws among all pictures of the training rows, and features "
            "stay on the disk: give more --memory, or leave it out"
        )
    if settings.loss == AUTO:
        refuse_streamed(features, choose, f"--loss {AUTO}")
    if settings.recipe.loss is not None:
        refuse_looks(features, method_of(settings))
        return
    name = settings.recipe.selection
    refuse_streamed(features, catalogue.find("selection", name).load().start, f"--select {name}")


def _task(
    labels: TrainingLabels, settings: Settings, device: torch.device, *, pictures: int
) -> Task:
    """Say what a run is to do, in tensors and calls."""
    return Task(
        torch.from_numpy(labels.used).to(device),
        len(labels.classes),
        method_of(settings),
        schedule_of(settings),
        settings.seeds,
        start_of(settings),
        max(1, pictures),
    )


def _computed(
    features: Rows,
    transform: Transform,
    roles: Split,
    labels: TrainingLabels,
    settings: Settings,
    state: State | None = None,
) -> Learned:
    """Let the selection look at the features and compute the head, if there is a closed form."""
    used, num_classes = torch.from_numpy(labels.used).to(features.device), len(labels.classes)
    if state is None:
        state = weigh(features, used, num_classes, settings)
    head: Tensors = {}
    if settings.recipe.form is not None:
        statistics = statistics_of(features, used, state, num_classes)
        head = head_of(statistics, settings, features.device)
    return Learned(transform, labels, roles, state, head, {}, None, {}, {})


def _chosen(
    values: Rows, roles: Split, labels: TrainingLabels, asked: Settings, progress: Progress
) -> Learned:
    """Choose how to make the head, and make it."""
    raw = gathered(values, roles.train, as_stored)
    used, num_classes = torch.from_numpy(labels.used).to(raw.device), len(labels.classes)
    choice = choose(raw, used, num_classes, roles.protocol, asked, progress=progress)
    settings = choice.candidate.settings(asked)
    if settings.recipe.form is None:
        identity = {"weight": torch.eye(raw.shape[1]), "bias": torch.zeros(raw.shape[1])}
        head = {name: value.to(raw.device) for name, value in identity.items()}
        mean, scale = torch.zeros_like(head["bias"]), torch.ones((), device=raw.device)
        nothing = Transform(None, mean, scale, None)
        return Learned(nothing, labels, roles, choice.state, head, {}, None, {}, {}, choice)
    transform = fit_transform(settings.recipe.transform, lambda: raw_tiles(values, roles.train))
    features = chosen(values, roles.train, transform)
    found = _computed(features, transform, roles, labels, settings, choice.state)
    return replace(found, choice=choice)


def _learned(
    found: Fit,
    transform: Transform,
    validator: Validator | None,
    run: int,
    labels: TrainingLabels,
    roles: Split,
) -> Learned:
    """Put together what a run has learned and what validation says of it."""
    history = {"loss": found.losses.tolist(), "kept": found.kept.tolist()}
    selected = None
    if validator is not None:
        scores = [float(score[run]) for score in validator.scores]
        history |= {"validated_epoch": [float(epoch) for epoch in validator.epochs]}
        history |= {"validation_map@r": scores}
        best = int(validator.best_epoch[run]), float(validator.best_score[run])
        selected = Selected(*best, validator.best_heads[run])
    parts = found.selection, found.head, found.learned, selected, history, found.facts
    return Learned(transform, labels, roles, *parts)


def _copy(learners: Runs, validator: Validator | None) -> Tensors:
    copied = snapshot(learners)
    if validator is not None:
        copied |= {_VALIDATION + name: value for name, value in validator.tensors().items()}
    return copied


def _of_validator(snapshot: Mapping[str, Tensor]) -> Tensors:
    """Find the validator's tensors in a snapshot."""
    return {
        name.removeprefix(_VALIDATION): value
        for name, value in snapshot.items()
        if name.startswith(_VALIDATION)
    }


def _of_runs(snapshot: Mapping[str, Tensor]) -> Tensors:
    """Find the runs' tensors in a snapshot."""
    return {name: value for name, value in snapshot.items() if not name.startswith(_VALIDATION)}
