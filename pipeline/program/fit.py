"""The training program: R runs of one method as one batched program on tensors.

A step is one pure function of one run, mapped over the leading axis R with `torch.func.vmap`;
training one run is R = 1. All runs see the same (N, F) features and have their own labels, seeds
and generators, so R runs together give what each gives alone, up to the order of additions. Nothing
here knows files, names or true labels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from pipeline.program import heads, memory, sampling
from pipeline.program.batch import Batch, first_occurrences
from pipeline.program.memory import Memory
from pipeline.program.method import Method
from pipeline.program.optimiser import AdamW
from pipeline.selection._state import State

Progress = Callable[[int, int], None]
Tensors = dict[str, Tensor]
_Bank = tuple[Memory] | tuple[()]  # an empty tuple where nobody wants a memory


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        epochs: passes over the training rows, at least 1.
        dim: D, the embedding dimension.
        lr: peak learning rate of the head; falls to 0 along a cosine.
        proxy_lr: peak learning rate of the loss's own parameters; the same cosine.
        weight_decay: of the head; the loss's parameters have none.
    """

    epochs: int
    dim: int
    lr: float
    proxy_lr: float
    weight_decay: float


class Fit(NamedTuple):
    """What R runs have learned.

    Attributes:
        head: weight (R, F, D) and bias (R, D).
        loss_parameters: tensors (R, ...) of the loss, for example its proxies.
        selection: R states.
        losses: (epochs, R) mean loss of each epoch.
        kept: (epochs, R) mean weight of the rows that were shown.
    """

    head: Tensors
    loss_parameters: Tensors
    selection: list[State]
    losses: Tensor
    kept: Tensor


def fit(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    method: Method,
    schedule: Schedule,
    seeds: Sequence[int],
    progress: Progress = lambda done, total: None,
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
    """
    program = Program(features, labels, num_classes, method, schedule, seeds)
    history = []
    for epoch in range(schedule.epochs):
        progress(epoch, schedule.epochs)
        history.append(program.epoch(epoch))
    progress(schedule.epochs, schedule.epochs)
    losses, kept = (torch.stack(values) for values in zip(*history, strict=True))
    head, extra = (
        {name: value.detach() for name, value in tensors.items()}
        for tensors in (program.head, program.extra)
    )
    return Fit(head, extra, program.states, losses, kept)


class Program:
    """R runs in training: stacked parameters, each run's state and bank, and the mapped step."""

    def __init__(
        self,
        features: Tensor,
        labels: Tensor,
        num_classes: int,
        method: Method,
        schedule: Schedule,
        seeds: Sequence[int],
    ) -> None:
        self.features, self.labels, self.num_classes = features, labels, num_classes
        self.method, self.schedule = method, schedule
        self.samplers = [_generator(seed, "sampling") for seed in seeds]
        starts = [_generator(seed, "start") for seed in seeds]
        size = features.shape[1], schedule.dim
        self.head = self._stack([heads.linear(*size, each) for each in starts])
        self.extra = self._stack(
            [method.loss_parameters(num_classes, schedule.dim, each) for each in starts]
        )
        self.states = [
            method.start(features, of_run, num_classes, _generator(seed, "selection"))
            for of_run, seed in zip(labels, seeds, strict=True)
        ]
        self.bank = self._empty_bank()
        self.head_optimiser = AdamW(self.head, weight_decay=schedule.weight_decay)
        self.extra_optimiser = AdamW(self.extra, weight_decay=0.0)
        self.steps_done = torch.zeros(len(seeds), device=features.device)
        self.step = vmap(self._run)

    def epoch(self, number: int) -> tuple[Tensor, Tensor]:
        """Train one epoch; returns each run's mean loss and mean weight, (R,) each."""
        self._refresh(number / self.schedule.epochs)
        index, lengths = self._draw()  # (R, steps, B), (R,)
        states = stack_states(self.states)
        losses, kept = [], []
        for at in range(index.shape[1]):
            value, states, self.bank, weight = self.step(
                self.head, self.extra, states, self.bank, self.labels, index[:, at]
            )
            self._update(value, number + at / lengths, at < lengths)
            losses.append(value.detach())
            kept.append(weight)
        self.states = unstack_states(states, len(self.states))
        return torch.stack(losses).sum(0) / lengths, torch.stack(kept).sum(0) / lengths

    def _run(
        self,
        head: Tensors,
        extra: Tensors,
        state: State,
        bank: _Bank,
        labels: Tensor,
        index: Tensor,
    ) -> tuple[Tensor, State, _Bank, Tensor]:
        """Compute one step's loss of one run; no host synchronisation, fixed shapes."""
        is_present = (index != sampling.ABSENT) & first_occurrences(index)
        rows = index.clamp_min(0)
        embeddings = heads.embed(head, self.features[rows])  # (B, D)
        present = is_present.to(embeddings.dtype)
        seen = Batch(embeddings.detach(), labels[rows], rows, present, bank[0] if bank else None)
        chosen, state = self.method.select(state, seen)
        if self.method.reads_confidences and chosen.confidences is not None:
            # The confidences say already how much the row counts, and for which class.
            chosen = chosen._replace(weights=present)
        value = self.method.loss(extra, chosen._replace(embeddings=embeddings))
        if bank and self.method.uses_queue:
            bank = (memory.enqueue(bank[0], *chosen[:4]),)
        weight = chosen.weights.sum() / present.sum().clamp_min(1)
        return value, state, bank, weight

    def _update(self, value: Tensor, time: Tensor, is_active: Tensor) -> None:
        """Move the parameters; `time` (R,) counts epochs. A run that ends its epoch early waits."""
        falling = 0.5 * (1 + torch.cos(math.pi * time / self.schedule.epochs))
        rate = falling.masked_fill(~is_active, torch.nan)
        self.steps_done += is_active
        # Runs do not share parameters, so the gradient of the sum is each run's own gradient.
        # (torch.func.grad gives the same, but its first call imports the compiler, some seconds.)
        parameters = [*self.head.values(), *self.extra.values()]
        gradients = torch.autograd.grad(value.sum(), parameters)
        to_head = dict(zip(self.head, gradients, strict=False))
        to_extra = dict(zip(self.extra, gradients[len(self.head) :], strict=True))
        self.head_optimiser.step(to_head, rate * self.schedule.lr, self.steps_done)
        self.extra_optimiser.step(to_extra, rate * self.schedule.proxy_lr, self.steps_done)

    @torch.no_grad()
    def _refresh(self, progress: float) -> None:
        """Embed all rows anew for the full bank and for selections that look at all rows."""
        is_full = bool(self.bank) and not self.method.uses_queue
        if not (is_full or self.method.refreshes):
            return
        banks = []
        for run, labels in enumerate(self.labels):
            head = {name: value[run] for name, value in self.head.items()}
            embeddings = heads.embed(head, self.features)  # (N, D)
            state = self.method.refresh(
                self.states[run], embeddings, labels, self.num_classes, progress
            )
            self.states[run] = state
            banks.append(memory.full(embeddings, labels, state.weights))
        if is_full:
            self.bank = (Memory(*map(torch.stack, zip(*banks, strict=True))),)

    def _draw(self) -> tuple[Tensor, Tensor]:
        """Draw an epoch of batches: (R, steps, B), short epochs filled with absent rows; (R,)."""
        epochs = [
            self.method.sample(labels.cpu(), generator)
            for labels, generator in zip(self.labels, self.samplers, strict=True)
        ]
        shape = len(epochs), *map(max, zip(*(each.shape for each in epochs), strict=True))
        index = torch.full(shape, sampling.ABSENT)
        for run, each in enumerate(epochs):
            index[run, : each.shape[0], : each.shape[1]] = each
        lengths = torch.tensor([len(each) for each in epochs])
        return index.to(self.features.device), lengths.to(self.features.device)

    def _empty_bank(self) -> _Bank:
        if not self.method.uses_memory:
            return ()
        size = self.method.bank_size or self.labels.shape[1]
        one = memory.empty(size, self.schedule.dim, self.features.device)
        return (Memory(*(torch.stack([part] * len(self.labels)) for part in one)),)

    def _stack(self, runs: list[Tensors]) -> Tensors:
        device = self.features.device
        return {
            name: torch.stack([run[name] for run in runs]).to(device).requires_grad_()
            for name in runs[0]
        }


def stack_states(states: Sequence[State]) -> State:
    """Stack the states of R runs along a new leading axis."""
    extras = {
        name: torch.stack([state.extras[name] for state in states]) for name in states[0].extras
    }
    return State(
        torch.stack([state.weights for state in states]),
        torch.stack([state.scores for state in states]),
        torch.stack([state.noise_rate for state in states]),
        extras,
    )


def unstack_states(states: State, runs: int) -> list[State]:
    """Take stacked states apart."""
    return [
        State(
            states.weights[run],
            states.scores[run],
            states.noise_rate[run],
            {name: value[run] for name, value in states.extras.items()},
        )
        for run in range(runs)
    ]


def _generator(seed: int, purpose: str) -> torch.Generator:
    """Make the generator of one purpose: streams of one seed are independent of each other."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
