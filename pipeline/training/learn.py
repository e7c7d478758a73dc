"""Training R runs that differ in their seeds, from a store's features to what each has learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cache.errors import InputError
from cache.store import Features
from pipeline.choices import catalogue
from pipeline.choices.assembly import method_of, schedule_of
from pipeline.choices.settings import Settings
from pipeline.labels.training import TrainingLabels, training_labels
from pipeline.program import trees
from pipeline.program.fit import Fit, fit
from pipeline.program.heads import Centring
from pipeline.program.loop import Program
from pipeline.program.snapshots import snapshot
from pipeline.selection._state import State
from pipeline.training.protocol import Split
from pipeline.training.validation import HeldOut, Validator, hold_out

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
        labels: of its training rows.
        roles: the store's rows as this run used them.
        state: of its selection.
        head: after the last epoch; empty where nothing is trained.
        parameters: the loss's own.
        selected: the preferred epoch; None without validation.
        history: figures of each epoch; with validation also the epochs that were looked at.
        facts: what the loss says of all training rows in the end.
    """

    labels: TrainingLabels
    roles: Split
    state: State
    head: Tensors
    parameters: Tensors
    selected: Selected | None
    history: dict[str, list[float]]
    facts: dict[str, float]


def learn(
    values: Tensor,
    source: Features,
    roles: Split,
    runs: Sequence[Settings],
    *,
    progress: Progress = lambda done, total: None,
    earlier: Mapping[str, Tensor] | None = None,
    keep: Callable[[Callable[[], Tensors]], None] = lambda copy: None,
) -> tuple[Centring, list[Learned]]:
    """Train runs as one batched program.

    Args:
        values: (M, F) raw features of all rows of the store, on the device that trains.
        source: the same rows as they were read; the noise may look at them.
        roles: which of them train.
        runs: settings that differ in their seeds alone.
        progress: is told the finished and the total epochs.
        earlier: a snapshot of the same runs to go on from.
        keep: is offered a way to copy the state after every epoch but the last.

    Returns:
        The centring of the training rows, and the runs.

    Raises:
        InputError: the labels, the loss or the selection do not work together, or a run diverged.
    """
    common = runs[0]
    held: HeldOut | None = None
    if common.validation is not None:
        held = hold_out(roles, common.validation, folds=common.folds, fold=common.fold)
        roles = held.train
    rows = values[torch.from_numpy(roles.train).to(values.device)]
    centring = Centring.of(rows)
    labels = [training_labels(roles, each, source) for each in runs]
    features = centring(rows)
    if common.recipe.loss is None:
        states = [_select_only(features, *pair) for pair in zip(labels, runs, strict=True)]
        pairs = zip(labels, states, strict=True)
        return centring, [Learned(own, roles, state, {}, {}, None, {}, {}) for own, state in pairs]
    validator = None
    if held is not None:
        validator = Validator(held, runs, source, centring(values), every=common.validate_every)
        if earlier is not None:
            validator.restore(_below(earlier))

    def observe(program: Program) -> None:
        if validator is not None and program.epochs_done > (validator.epochs or [0])[-1]:
            validator.look(program)
        if program.epochs_done < common.epochs:
            keep(lambda: _copy(program, validator))

    result = fit(
        features,
        torch.stack([torch.from_numpy(own.used) for own in labels]).to(values.device),
        max(len(own.classes) for own in labels),
        method_of(common),
        schedule_of(common),
        [each.seeds for each in runs],
        progress,
        snapshot=earlier,
        observe=observe,
        is_over=lambda: validator is not None and validator.is_exhausted(common.patience),
    )
    _refuse_divergence(result)
    return centring, [
        _learned(result, validator, run, own, roles) for run, own in enumerate(labels)
    ]


def _select_only(features: Tensor, labels: TrainingLabels, settings: Settings) -> State:
    """Let the selection look at the frozen features, without any training."""
    selection = catalogue.find("selection", settings.recipe.selection).load()
    generator = torch.Generator().manual_seed(settings.seed)
    used = torch.from_numpy(labels.used).to(features.device)
    state: State = selection.start(
        features, used, len(labels.classes), generator, **settings.options_of("select")
    )
    return state


def _learned(
    result: Fit, validator: Validator | None, run: int, labels: TrainingLabels, roles: Split
) -> Learned:
    """Take one run out of all of them."""
    history = {
        "loss": [float(value) for value in result.losses[:, run]],
        "kept": [float(value) for value in result.kept[:, run]],
    }
    selected = None
    if validator is not None:
        scores = [float(score[run]) for score in validator.scores]
        history |= {"validated_epoch": [float(epoch) for epoch in validator.epochs]}
        history |= {"validation_map@r": scores}
        selected = Selected(
            int(validator.best_epoch[run]),
            float(validator.best_score[run]),
            trees.take(validator.best_head, run),
        )
    return Learned(
        labels,
        roles,
        result.selection[run],
        trees.take(result.head, run),
        trees.take(result.learned, run),
        selected,
        history,
        result.facts[run],
    )


def _refuse_divergence(result: Fit) -> None:
    tensors = [*result.head.values(), *result.learned.values(), result.losses]
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        value = float(result.losses[-1].mean())
        raise InputError(f"training diverged (the loss became {value}): lower --set lr")


def _copy(program: Program, validator: Validator | None) -> Tensors:
    copied = snapshot(program)
    if validator is not None:
        copied |= {_VALIDATION + name: value for name, value in validator.tensors().items()}
    return copied


def _below(snapshot: Mapping[str, Tensor]) -> Tensors:
    """Find the validator's tensors in a snapshot."""
    return {
        name.removeprefix(_VALIDATION): value
        for name, value in snapshot.items()
        if name.startswith(_VALIDATION)
    }
