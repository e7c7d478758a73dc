"""Training R runs, from start to result; a run that cannot work leaves the others alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cache.errors import InputError
from pipeline.program.facts import facts_of
from pipeline.program.learner import Learner, Task, begin
from pipeline.program.loop import Program, Way
from pipeline.program.rows import Rows
from pipeline.program.snapshots import resume, runs_in
from pipeline.selection._state import State

Progress = Callable[[int, int], None]
Tensors = dict[str, Tensor]
Runs = Mapping[int, Learner]


class Fit(NamedTuple):
    """What one run has learned.

    Attributes:
        head: its tensors, see `pipeline.program.heads`; of two heads the first.
        learned: tensors of the loss, for example its proxies; of two heads the first's.
        selection: what it knows of the rows.
        losses: (epochs,) mean loss of each epoch.
        kept: (epochs,) mean weight of the rows that were shown.
        facts: what the loss says of all rows after training.
    """

    head: Tensors
    learned: Tensors
    selection: State
    losses: Tensor
    kept: Tensor
    facts: dict[str, float]


def fit(
    features: Rows,
    tasks: Sequence[Task],
    progress: Progress = lambda done, total: None,
    *,
    shown: Tensor | None = None,
    snapshot: Mapping[str, Tensor] | None = None,
    observe: Callable[[Runs], None] = lambda runs: None,
    is_over: Callable[[], bool] = lambda: False,
    way: Way | None = None,
) -> list[Fit | InputError]:
    """Train R runs.

    Args:
        features: (N, F) float32, centred, on the device that trains or on the way there.
        tasks: what each run is to do; all for equally many epochs.
        progress: is told the finished and the total epochs.
        shown: (P N, F), if the tasks have P pictures of each row, see `Program`.
        snapshot: of runs with the same tasks, to go on from.
        observe: is shown the runs by their numbers before the first epoch and after every one.
        is_over: asked before every epoch whether to stop early.
        way: how steps are taken, see `Program`.

    Returns:
        What each run has learned, or why it could not: its selection or its loss cannot work with
        these rows, or it diverged.
    """
    runs, refused = _begin(features, tasks, snapshot or {})
    if runs:
        program = Program(features, list(runs.values()), shown=shown, way=way)
        observe(runs)
        while program.epochs_done < program.epochs and not is_over():
            progress(program.epochs_done, program.epochs)
            program.epoch()
            observe(runs)
        progress(program.epochs, program.epochs)
    return [
        refused[run] if run in refused else _result(features, runs[run])
        for run in range(len(tasks))
    ]


def _begin(
    features: Rows, tasks: Sequence[Task], snapshot: Mapping[str, Tensor]
) -> tuple[dict[int, Learner], dict[int, InputError]]:
    """Begin every run, or go on with it; those that cannot work are sorted out."""
    runs, refused, known = {}, {}, runs_in(snapshot)
    for run, task in enumerate(tasks):
        try:
            if run in known:
                runs[run] = resume(features, task, snapshot, run)
            else:
                runs[run] = begin(features, task)
                facts_of(features, runs[run])  # a loss that cannot work with these rows says so now
        except InputError as error:
            runs.pop(run, None)
            refused[run] = error
    return runs, refused


def _result(features: Rows, learner: Learner) -> Fit | InputError:
    head, learned = learner.first_head()
    losses, kept = torch.stack(learner.losses), torch.stack(learner.kept)
    tensors = [*learner.head.values(), *learner.learned.values(), losses]
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        value = float(losses[-1])
        return InputError(f"training diverged (the loss became {value}): lower --set lr")
    return Fit(head, learned, learner.state, losses, kept, facts_of(features, learner))
