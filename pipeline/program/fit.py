"""Training R runs of one method, from start to result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.program.facts import facts_of
from pipeline.program.loop import Program
from pipeline.program.method import Method
from pipeline.program.schedule import Schedule
from pipeline.program.seeds import Seeds
from pipeline.program.snapshots import resume
from pipeline.selection._state import State

Progress = Callable[[int, int], None]
Tensors = dict[str, Tensor]


class Fit(NamedTuple):
    """What R runs have learned.

    Attributes:
        head: weight (R, F, D) and bias (R, D); of two heads the first.
        learned: tensors (R, ...) of the loss, for example its proxies; of two heads the first's.
        selection: R states.
        losses: (epochs, R) mean loss of each epoch.
        kept: (epochs, R) mean weight of the rows that were shown.
        facts: what the loss says of all rows after training, one dict of figures per run.
    """

    head: Tensors
    learned: Tensors
    selection: list[State]
    losses: Tensor
    kept: Tensor
    facts: list[dict[str, float]]


def fit(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    method: Method,
    schedule: Schedule,
    seeds: Sequence[int | Seeds],
    progress: Progress = lambda done, total: None,
    *,
    snapshot: Mapping[str, Tensor] | None = None,
    observe: Callable[[Program], None] = lambda program: None,
    is_over: Callable[[], bool] = lambda: False,
) -> Fit:
    """Train R runs.

    Args:
        features: (N, F) float32, centred, on the device that trains.
        labels: (R, N) int64 on the same device, as given to each run.
        num_classes: C.
        method: loss and selection.
        schedule: how long and how fast.
        seeds: R seeds, one per run.
        progress: is told the finished and the total epochs.
        snapshot: of a program with the same arguments, to go on from.
        observe: is shown the program before the first epoch and after every one.
        is_over: asked before every epoch whether to stop early.

    Raises:
        InputError: the selection or the loss finds that it cannot work with these rows.
    """
    arguments = features, labels, num_classes, method, schedule, seeds
    program = Program(*arguments, begins=snapshot is None)
    if snapshot is not None:
        resume(program, snapshot)
    if not program.epochs_done:
        facts_of(program)  # a loss that cannot work with these rows says so now
    observe(program)
    while program.epochs_done < schedule.epochs and not is_over():
        progress(program.epochs_done, schedule.epochs)
        program.epoch()
        observe(program)
    progress(schedule.epochs, schedule.epochs)
    head, learned = (
        {name: value.detach() for name, value in program.first_of(tensors).items()}
        for tensors in (program.head, program.learned)
    )
    losses, kept = torch.stack(program.losses), torch.stack(program.kept)
    return Fit(head, learned, program.states, losses, kept, facts_of(program))
