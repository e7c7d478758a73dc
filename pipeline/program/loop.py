"""The training program: R runs of one method as one batched program on tensors.

A step is one pure function of one run (`step`), mapped over the leading axis R with
`torch.func.vmap`; training one run is R = 1. All runs see the same (N, F) features and have their
own labels, seeds and generators, so R runs together give what each gives alone, up to the order of
additions. Nothing here knows files, names or true labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional

from pipeline.program import heads, memory, sampling, trees
from pipeline.program.memory import Memory
from pipeline.program.method import Method
from pipeline.program.optimiser import AdamW
from pipeline.program.schedule import Schedule
from pipeline.program.seeds import Seeds
from pipeline.program.step import Bank, Moment, step
from pipeline.selection._state import State

Tensors = dict[str, Tensor]
Draw = Callable[[torch.Generator], Tensors]


class Program:
    """R runs in training: stacked parameters, each run's state and bank, and the mapped step."""

    def __init__(
        self,
        features: Tensor,
        labels: Tensor,
        num_classes: int,
        method: Method,
        schedule: Schedule,
        seeds: Sequence[int | Seeds],
        *,
        begins: bool = True,
    ) -> None:
        """Prepare the runs; the arguments are those of `fit`.

        With `begins` False neither selections nor surveys are started: `snapshots.resume` fills
        everything in.
        """
        self.features, self.labels, self.num_classes = features, labels, num_classes
        self.method, self.schedule = method, schedule
        seeds_of_runs = [Seeds.of(each) for each in seeds]
        starts = [each.start for each in seeds_of_runs]
        self.samplers = [_generator(each.sampling, "sampling") for each in seeds_of_runs]
        self.surveyors = [_generator(each.sampling, "survey") for each in seeds_of_runs]
        over_runs = vmap if method.is_batched else trees.one_by_one
        self.step = over_runs(partial(step, method, features))
        self.losses: list[Tensor] = []  # (R,) each
        self.kept: list[Tensor] = []
        self.steps_done = torch.zeros(len(seeds), device=features.device)
        self._draw_parameters([_generator(seed, "start") for seed in starts])
        self.bank = self._empty_bank()
        self.surveys: Tensors = {}
        self.states: list[State] = []
        if not begins:
            return
        self.states = [
            method.start(features, of_run, num_classes, _generator(seed, "selection"))
            for of_run, seed in zip(labels, starts, strict=True)
        ]
        if method.surveys != "never":
            self.surveys = self._survey([functional.normalize(features, dim=1)] * len(seeds))

    @property
    def epochs_done(self) -> int:
        """The number of finished epochs."""
        return len(self.losses)

    def epoch(self) -> None:
        """Train one epoch, and note each run's mean loss and mean weight."""
        self.look()
        self.run_epoch()

    def run_epoch(self) -> None:
        """Take the steps of an epoch that has begun."""
        number = self.epochs_done
        index, lengths = self.draw_batches()  # (R, steps, B), (R,)
        now = self.now()
        losses, kept = [], []
        for at in range(index.shape[1]):
            value, state, bank, weight = self.step(now, index[:, at])
            now = now._replace(state=state, bank=bank)
            self.update(value, number + at / lengths, at < lengths)
            losses.append(value.detach())
            kept.append(weight)
        self.bank = now.bank
        self.states = [trees.take(now.state, run) for run in range(len(self.labels))]
        self.losses.append(torch.stack(losses).sum(0) / lengths)
        self.kept.append(torch.stack(kept).sum(0) / lengths)

    def now(self) -> Moment:
        """Stack what the runs go into a step with."""
        states = trees.stack(self.states)
        return Moment(self.head, self.learned, states, self.bank, self.surveys, self.labels)

    def first_of(self, tensors: Tensors) -> Tensors:
        """Leave of two heads per run the first: tensors (R, 2, ...) -> (R, ...)."""
        if self.method.num_heads == 1:
            return tensors
        return {name: value[:, 0] for name, value in tensors.items()}

    def update(self, value: Tensor, time: Tensor, is_active: Tensor) -> None:
        """Move the parameters; `time` (R,) counts epochs. A run that ends its epoch early waits."""
        rate = self.schedule.falling(time).masked_fill(~is_active, torch.nan)
        self.steps_done += is_active
        # Runs do not share parameters, so the gradient of the sum is each run's own gradient.
        # (torch.func.grad gives the same, but its first call imports the compiler, some seconds.)
        parameters = [*self.head.values(), *self.learned.values()]
        gradients = torch.autograd.grad(value.sum(), parameters)
        to_head = dict(zip(self.head, gradients, strict=False))
        to_learned = dict(zip(self.learned, gradients[len(self.head) :], strict=True))
        self.head_optimiser.step(to_head, rate * self.schedule.lr, self.steps_done)
        self.learned_optimiser.step(to_learned, rate * self.schedule.proxy_lr, self.steps_done)

    @torch.no_grad()
    def look(self) -> None:
        """Begin an epoch: all rows embedded anew, for whoever looks at all of them."""
        method, epoch = self.method, self.epochs_done
        self.states = [method.turn(state, epoch) for state in self.states]
        is_full = bool(self.bank) and not method.uses_queue
        surveys_anew = method.surveys == "epochs" and epoch > 0
        if not (is_full or method.refreshes or surveys_anew):
            return
        embedded = [
            heads.embed(trees.take(self.first_of(self.head), run), self.features)  # (N, D)
            for run in range(len(self.labels))
        ]
        progress = epoch / self.schedule.epochs
        self.states = [
            method.refresh(state, embeddings, labels, self.num_classes, progress)
            for state, embeddings, labels in zip(self.states, embedded, self.labels, strict=True)
        ]
        if is_full:
            parts = zip(embedded, self.labels, self.states, strict=True)
            self.bank = (trees.stack([memory.full(e, y, state.weights) for e, y, state in parts]),)
        if surveys_anew:
            self.surveys = self._survey(embedded)

    @torch.no_grad()
    def _survey(self, rows: Sequence[Tensor]) -> Tensors:
        """Let the loss look at all rows (N, *) of each run."""
        runs = zip(rows, self.labels, self.states, self.surveyors, strict=True)
        found = [
            self.method.survey(rows, labels, state.weights, self.num_classes, generator)
            for rows, labels, state, generator in runs
        ]
        return trees.stack(found)

    def draw_batches(self) -> tuple[Tensor, Tensor]:
        """Draw an epoch of batches: (R, steps, B), short epochs filled with absent rows; (R,)."""
        epochs = [
            self.method.sample(labels.cpu(), generator, trees.take(self.surveys, run))
            for run, (labels, generator) in enumerate(zip(self.labels, self.samplers, strict=True))
        ]
        shape = len(epochs), *map(max, zip(*(each.shape for each in epochs), strict=True))
        index = torch.full(shape, sampling.ABSENT)
        for run, each in enumerate(epochs):
            index[run, : each.shape[0], : each.shape[1]] = each
        lengths = torch.tensor([len(each) for each in epochs])
        return index.to(self.features.device), lengths.to(self.features.device)

    def _draw_parameters(self, starts: Sequence[torch.Generator]) -> None:
        """Draw every head first and then what the loss learns, each run from its generator."""
        num_features, dim = self.features.shape[1], self.schedule.dim
        self.head = self._stack(lambda g: heads.linear(num_features, dim, g), starts)
        self.learned = self._stack(
            lambda g: self.method.loss_parameters(self.num_classes, dim, g), starts
        )
        self.head_optimiser = AdamW(self.head, weight_decay=self.schedule.weight_decay)
        self.learned_optimiser = AdamW(self.learned, weight_decay=0.0)

    def _stack(self, draw: Draw, starts: Sequence[torch.Generator]) -> Tensors:
        """Draw the tensors of each run, of two heads twice, and stack them."""
        count = self.method.num_heads
        runs = []
        for start in starts:
            drawn = [draw(start) for _ in range(count)]
            runs.append(drawn[0] if count == 1 else trees.stack(drawn))
        device = self.features.device
        return {
            name: value.to(device).requires_grad_() for name, value in trees.stack(runs).items()
        }

    def _empty_bank(self) -> Bank:
        if not self.method.uses_memory:
            return ()
        size = self.method.bank_size or self.labels.shape[1]
        one = memory.empty(size, self.schedule.dim, self.features.device)
        stacked: Memory = trees.stack([one] * len(self.labels))
        return (stacked,)


def _generator(seed: int, purpose: str) -> torch.Generator:
    """Make the generator of one purpose: streams of one seed are independent of each other."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
