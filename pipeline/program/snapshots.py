"""The state of a program between two epochs, as named tensors: enough for the same next step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.program import trees
from pipeline.program.loop import Program
from pipeline.program.memory import Memory
from pipeline.selection._state import State


def snapshot(program: Program) -> dict[str, Tensor]:
    """Copy what the next epoch depends on, to the CPU. A full memory is made anew, not stored."""
    tree = {
        "head": program.head,
        "learned": program.learned,
        "head_moments": program.head_optimiser.moments,
        "learned_moments": program.learned_optimiser.moments,
        "states": {str(run): state for run, state in enumerate(program.states)},
        "bank": program.bank if program.method.uses_queue else (),
        "surveys": program.surveys,
        "steps_done": program.steps_done,
        "losses": torch.stack(program.losses) if program.losses else program.steps_done[None][:0],
        "kept": torch.stack(program.kept) if program.kept else program.steps_done[None][:0],
        "samplers": torch.stack([each.get_state() for each in program.samplers]),
        "surveyors": torch.stack([each.get_state() for each in program.surveyors]),
    }
    leaves = trees.flatten(tree)
    return {name: leaf.detach().cpu().clone().contiguous() for name, leaf in leaves.items()}


@torch.no_grad()
def resume(program: Program, leaves: Mapping[str, Tensor]) -> Program:
    """Fill a program that was made with the same arguments, and has not begun, from a snapshot."""
    for name in ("samplers", "surveyors"):
        for generator, state in zip(getattr(program, name), leaves[name], strict=True):
            generator.set_state(state.clone())
    device = program.features.device
    tree = trees.nest({name: leaf.to(device, copy=True) for name, leaf in leaves.items()})
    _fill(program.head, tree["head"])
    _fill(program.learned, tree.get("learned", {}))
    program.head_optimiser.moments = tree["head_moments"]
    program.learned_optimiser.moments = tree.get("learned_moments", {})
    program.states = [_state(tree["states"][str(run)]) for run in range(len(program.labels))]
    if "bank" in tree:
        program.bank = (Memory(**tree["bank"]["0"]),)
    program.surveys = tree.get("surveys", {})
    program.steps_done = tree["steps_done"]
    program.losses, program.kept = list(tree["losses"]), list(tree["kept"])
    return program


def _fill(parameters: dict[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


def _state(tree: dict[str, Any]) -> State:
    return State(tree["weights"], tree["scores"], tree["noise_rate"], tree.get("extras", {}))
