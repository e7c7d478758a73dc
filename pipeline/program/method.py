"""A method: one loss and one selection with their options, as plain calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from pipeline.program import sampling
from pipeline.program.batch import Batch
from pipeline.program.rows import Rows
from pipeline.selection._state import State


@dataclass(frozen=True)
class Method:
    """A loss module and a selection module with what the user chose for them.

    Attributes:
        loss_module: of `pipeline.losses`.
        selection_module: of `pipeline.selection`.
        loss_options: keyword -> value.
        select_options: keyword -> value.
        batch_size: B.
        rows_per_class: K, for the balanced sampler.
        bank: "full" or "queue", for a loss or selection with a memory.
        bank_size: slots of the queue; None = number of training rows.
        loss: of one batch: (parameters, batch) -> ().
        select: the selection's part in a step: (state, batch) -> (batch, state).
        exchange: the part in a step of a selection with two heads.
        logits: the class scores of a loss that is a classifier: (parameters, rows) -> (B, C).
    """

    loss_module: ModuleType
    selection_module: ModuleType
    loss_options: Mapping[str, Any]
    select_options: Mapping[str, Any]
    batch_size: int
    rows_per_class: int
    bank: str
    bank_size: int | None = None
    loss: Callable[[dict[str, Tensor], Batch], Tensor] = field(init=False)
    select: Callable[[State, Batch], tuple[Batch, State]] = field(init=False)
    exchange: Callable[[State, Batch, Tensor], tuple[Tensor, State]] = field(init=False)
    logits: Callable[[dict[str, Tensor], Tensor], Tensor] = field(init=False)

    def __post_init__(self) -> None:
        """Fix the options of what a step calls, once: a step may be compiled."""
        for module, options, names in (
            (self.loss_module, self.loss_options, ("loss", "logits")),
            (self.selection_module, self.select_options, ("select", "exchange")),
        ):
            for name in names:
                if hasattr(module, name):
                    call = _with_options(getattr(module, name), options)
                    object.__setattr__(self, name, call)

    def loss_parameters(
        self, num_classes: int, dim: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draw the tensors that the loss learns; none for most pair losses."""
        if not hasattr(self.loss_module, "parameters"):
            return {}
        draw = _with_options(self.loss_module.parameters, self.loss_options)
        return dict(draw(num_classes, dim, generator))

    @property
    def surveys(self) -> Literal["never", "start", "epochs"]:
        """When the loss looks at all rows at once."""
        return getattr(self.loss_module, "SURVEYS", "never")

    def survey(
        self,
        rows: Rows,
        labels: Tensor,
        weights: Tensor,
        num_classes: int,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Let the loss look at all (N, *) rows of unit norm, if it wants to."""
        if self.surveys == "never":
            return {}
        look = _with_options(self.loss_module.survey, self.loss_options)
        return dict(look(rows, labels, weights, num_classes, generator))

    def facts(self, parameters: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Collect what the loss has to say about a batch: () figures by name."""
        if not hasattr(self.loss_module, "facts"):
            return {}
        return dict(_with_options(self.loss_module.facts, self.loss_options)(parameters, batch))

    @property
    def is_batched(self) -> bool:
        """Whether the loss runs under `torch.func.vmap`; if not, runs take turns."""
        return getattr(self.loss_module, "BATCHED", True)

    @property
    def num_heads(self) -> int:
        """How many heads a run trains."""
        return getattr(self.selection_module, "HEADS", 1)

    def turn(self, state: State, epoch: int) -> State:
        """Tell the selection that an epoch begins, from 0."""
        if not hasattr(self.selection_module, "turn"):
            return state
        turned: State = _with_options(self.selection_module.turn, self.select_options)(state, epoch)
        return turned

    def start(
        self, features: Rows, labels: Tensor, num_classes: int, generator: torch.Generator
    ) -> State:
        """Let the selection look at the frozen features, before training."""
        look = _with_options(self.selection_module.start, self.select_options)
        begun: State = look(features, labels, num_classes, generator)
        return begun

    @property
    def refreshes(self) -> bool:
        """Whether the selection looks at all embedded rows in every epoch."""
        return hasattr(self.selection_module, "refresh")

    def refresh(
        self, state: State, embeddings: Tensor, labels: Tensor, num_classes: int, progress: float
    ) -> State:
        """Let the selection look at all embedded rows, if it wants to."""
        if not self.refreshes:
            return state
        look = _with_options(self.selection_module.refresh, self.select_options)
        found: State = look(state, embeddings, labels, num_classes, progress)
        return found

    @property
    def uses_queue(self) -> bool:
        """Whether the memory is the published queue."""
        return self.bank == "queue"

    @property
    def uses_memory(self) -> bool:
        """Whether the loss or the selection compares with a memory."""
        return getattr(self.loss_module, "MEMORY", False) or hasattr(self.selection_module, "BANK")

    @property
    def reads_confidences(self) -> bool:
        """Whether the loss takes class confidences in place of labels."""
        return getattr(self.loss_module, "CONFIDENCES", False)

    def sample(
        self, labels: Tensor, generator: torch.Generator, survey: dict[str, Tensor]
    ) -> Tensor:
        """Draw one epoch of batches from (N,) labels on the CPU.

        Returns:
            (steps, B) int64 row numbers, each once in a batch; `sampling.ABSENT` where none is.
        """
        if hasattr(self.loss_module, "sample"):
            draw = _with_options(self.loss_module.sample, self.loss_options)
            index: Tensor = draw(labels, self.batch_size, generator, survey)
        elif self.loss_module.SAMPLER == "balanced":
            size, per_class = self.batch_size, self.rows_per_class
            index = sampling.balanced(labels, size, generator, rows_per_class=per_class)
        else:
            index = sampling.shuffle(labels, self.batch_size, generator)
        return sampling.without_copies(index)


def _with_options(function: Callable[..., Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    """Fix those of the options that the function declares."""
    known = signature(function).parameters
    return partial(function, **{name: value for name, value in options.items() if name in known})
