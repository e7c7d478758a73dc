"""The state of runs between two epochs, as named tensors: enough for the same next step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.program import trees
from pipeline.program.learner import Learner, Task, begin
from pipeline.program.memory import Memory
from pipeline.program.rows import Rows
from pipeline.selection._state import State


def snapshot(learners: Mapping[int, Learner]) -> dict[str, Tensor]:
    """Copy what the next epoch depends on, to the CPU. A full memory is made anew, not stored.

    Args:
        learners: number of the run -> run.
    """
    tree = {str(run): _tree(learner) for run, learner in learners.items()}
    leaves = trees.flatten(tree)
    return {name: leaf.detach().cpu().clone().contiguous() for name, leaf in leaves.items()}


def runs_in(leaves: Mapping[str, Tensor]) -> set[int]:
    """List the numbers of the runs in a snapshot."""
    return {int(name.partition("/")[0]) for name in leaves}


@torch.no_grad()
def resume(features: Rows, task: Task, leaves: Mapping[str, Tensor], run: int) -> Learner:
    """Begin a run with the state that a snapshot has of it.

    Args:
        features: (N, F).
        task: the same as that of the run in the snapshot.
        leaves: the snapshot.
        run: its number there.
    """
    prefix = f"{run}/"
    own = {
        name.removeprefix(prefix): leaf for name, leaf in leaves.items() if name.startswith(prefix)
    }
    tree = trees.nest({name: leaf.to(features.device, copy=True) for name, leaf in own.items()})
    learner = begin(features, task, looks=False)
    learner.head, learner.learned = tree["head"], tree.get("learned", {})
    learner.moments = {"learned": {}, **tree["moments"]}
    state = tree["state"]
    parts = state["weights"], state["scores"], state["noise_rate"]
    learner.state = State(*parts, state.get("extras", {}))
    if "bank" in tree:
        learner.bank = (Memory(**tree["bank"]["0"]),)
    learner.survey = tree.get("survey", {})
    learner.losses, learner.kept = list(tree["losses"]), list(tree["kept"])
    learner.sampler.set_state(own["sampler"].clone())
    learner.surveyor.set_state(own["surveyor"].clone())
    return learner


def _tree(learner: Learner) -> dict[str, Any]:
    nothing = torch.zeros(0)
    return {
        "head": learner.head,
        "learned": learner.learned,
        "moments": learner.moments,
        "state": learner.state,
        "bank": learner.bank if learner.task.method.uses_queue else (),
        "survey": learner.survey,
        "losses": torch.stack(learner.losses) if learner.losses else nothing,
        "kept": torch.stack(learner.kept) if learner.kept else nothing,
        "sampler": learner.sampler.get_state(),
        "surveyor": learner.surveyor.get_state(),
    }
