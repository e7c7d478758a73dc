"""How many runs fit into memory at once."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from cache.errors import InputError
from pipeline.ablation.trial import Ground
from pipeline.choices.assembly import method_of, schedule_of
from pipeline.choices.settings import Settings
from pipeline.program import trees
from pipeline.program.learner import Task, begin
from pipeline.training.budget import free_bytes
from pipeline.transforms.chain import Chain

OUT_OF_MEMORY = (MemoryError, RuntimeError)  # torch raises the latter, on a CPU without a name


def runs_at_once(ground: Ground, settings: Settings, budget: int | None) -> int:
    """Begin a run on a few rows and count how many of its size fit.

    Args:
        ground: what the runs stand on; its features are in memory already.
        settings: of one of them.
        budget: bytes that all of them may take; None = most of what the device has free.

    Raises:
        InputError: not even one fits.
    """
    if settings.recipe.loss is None:
        return 1
    roles = ground.roles[settings.protocol]
    values = ground.values
    rows = len(roles.train)
    labels = torch.zeros(rows, dtype=torch.int64, device=values.device)
    num_classes = len(set(roles.given[roles.train].tolist()))
    task = Task(labels, num_classes, method_of(settings), schedule_of(settings), settings.seeds)
    width = Chain.parse(settings.recipe.transform).width(values.shape[1])
    learner = begin(values.new_zeros(1, width, dtype=torch.float32), task, looks=False)
    parameters = _bytes({"head": learner.head, "learned": learner.learned})
    # Weights and scores of a selection are a number a row; two memories, as one is made anew.
    own = parameters + _bytes(learner.moments) + 2 * _bytes({"bank": learner.bank}) + 16 * rows
    one = own + parameters  # with its gradients; the batch is small beside them
    budget = free_bytes(values.device) if budget is None else budget
    if settings.views is not None:
        drawn = 4 * width * rows * len(ground.pictures)  # they share it
        budget = max(0, budget - drawn)
    if one > budget:
        raise InputError(
            f"one run of {settings.loss} takes {one / 1e6:,.0f} MB and --memory leaves "
            f"{budget / 1e6:,.0f} MB: raise it, or lower --dim"
        )
    return budget // one


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory could not be had."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(
        error
    )


def _bytes(tree: Mapping[str, object]) -> int:
    return sum(leaf.nbytes for leaf in trees.flatten(tree).values())
