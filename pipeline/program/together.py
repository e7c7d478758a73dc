"""Runs of one shape that take their steps together: one program over a leading axis R.

The runs' tensors move into stacks and become views of them, so a learner always shows what its run
has learned. A step changes everything in place and asks the host nothing, so it can be compiled,
and a graphics processor can be handed several steps at once (`capture`). What differs between the
runs of a stack beside their tensors are numbers: learning rates, weight decay and those options of
loss and selection that are numbers; they go into the step as tensors (R,).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from pipeline.program import optimiser, sampling, trees
from pipeline.program.capture import Launch
from pipeline.program.learner import Learner
from pipeline.program.method import Method
from pipeline.program.step import Bank, Moment, Stepped, step
from pipeline.selection._state import State

Tensors = dict[str, Tensor]
_STEPS_AT_ONCE = 8


class Stack:
    """R runs on the way through their steps."""

    def __init__(
        self, features: Tensor, learners: Sequence[Learner], *, compiles: bool = False
    ) -> None:
        """Move the runs' tensors into stacks.

        Args:
            features: (N, F).
            learners: runs with equal `key`.
            compiles: make few fused kernels of a step by torch.compile, which takes it half a
                minute or more at the first step.
        """
        self.learners = learners
        self._method = learners[0].task.method
        stacked = trees.stack([_trained(learner) for learner in learners])
        for run, learner in enumerate(learners):
            learner.head, learner.learned, learner.moments = trees.take(stacked, run)
        head, learned, self._moments = stacked
        # One storage, two roles: leaves for the gradient, and plain tensors that the update writes.
        self._head, self._learned = (
            {name: value.requires_grad_() for name, value in tensors.items()}
            for tensors in (head, learned)
        )
        between = trees.stack([_between(learner) for learner in learners])
        labels = torch.stack([learner.task.labels for learner in learners])
        clock = self._moments["head"]["weight"]["count"]
        disturbance = trees.stack([learner.disturbance for learner in learners])
        self._now = Moment(self._head, self._learned, *between, labels, clock, disturbance)
        self._step = vmap(partial(_step, self._method, features))
        self._move = optimiser.update_stack
        if compiles:
            self._step = torch.compile(self._step, fullgraph=True, dynamic=False)
            self._move = torch.compile(self._move, fullgraph=True, dynamic=False)
        self._options = _varied_options(learners, features)
        decay = [each.task.schedule.weight_decay for each in learners]
        self._weight_decay = torch.tensor(decay, device=features.device)
        self._launch = Launch(self._advance, features.device)

    def run_epoch(self) -> None:
        """Take the steps of an epoch that has begun; short epochs wait for the longer ones."""
        index, lengths, rates = self._draw()
        self._refill()
        device = self._weight_decay.device
        sums = torch.zeros(2, len(self.learners), device=device)  # of the losses, of what was kept
        for at in range(0, index.shape[1], _STEPS_AT_ONCE):
            window = slice(at, at + _STEPS_AT_ONCE)
            self._launch(index[:, window], rates[:, :, window], sums)
        states, banks = self._now.state, self._now.bank
        means = sums / lengths.to(device)
        for run, learner in enumerate(self.learners):
            learner.state, learner.bank = trees.take((states, banks), run)
            learner.losses.append(means[0, run])
            learner.kept.append(means[1, run])

    def _draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Draw an epoch: batches (R, steps, B), lengths (R,), and what the optimiser needs.

        The last is (3, R, steps): the heads' learning rates, those of what the losses learn, and 1
        where a run takes part, else 0. The number of steps is a multiple of those at once; what is
        beyond a run's own batches is absent rows.
        """
        epochs = [learner.draw_batches() for learner in self.learners]
        steps, size = map(max, zip(*(each.shape for each in epochs), strict=True))
        steps = -(-steps // _STEPS_AT_ONCE) * _STEPS_AT_ONCE
        index = torch.full((len(epochs), steps, size), sampling.ABSENT)
        rates = torch.zeros(3, len(epochs), steps)
        for run, (own, learner) in enumerate(zip(epochs, self.learners, strict=True)):
            schedule, number, length = learner.task.schedule, learner.epochs_done, len(own)
            index[run, :length, : own.shape[1]] = own
            shares = [schedule.falling(number + at / length) for at in range(length)]
            rates[0, run, :length] = torch.tensor(shares) * schedule.lr
            rates[1, run, :length] = torch.tensor(shares) * schedule.proxy_lr
            rates[2, run, :length] = 1
        device = self._weight_decay.device
        lengths = torch.tensor([len(each) for each in epochs])
        return index.to(device), lengths, rates.to(device)

    def _refill(self) -> None:
        """Take over what the runs have found out between the epochs, in place."""
        between = trees.stack([_between(learner) for learner in self.learners])
        trees.copy((self._now.state, self._now.bank, self._now.survey), between)

    def _advance(self, index: Tensor, rates: Tensor, sums: Tensor) -> None:
        """Take some steps: index (R, steps, B), rates (3, R, steps), sums (2, R)."""
        for at in range(index.shape[1]):
            is_active = rates[2, :, at]
            stepped = self._step(self._now, index[:, at], self._options)
            self._update(stepped, rates[:2, :, at], is_active)
            trees.copy((self._now.state, self._now.bank), (stepped.state, stepped.bank))
            sums += torch.stack([stepped.loss.detach(), stepped.kept]) * is_active

    def _update(self, stepped: Stepped, rates: Tensor, is_active: Tensor) -> None:
        # Runs do not share parameters, so the gradient of the sum is each run's own gradient.
        leaves = [*self._head.values(), *self._learned.values()]
        gradients = torch.autograd.grad(stepped.loss.sum(), leaves)
        self._move(
            self._head,
            dict(zip(self._head, gradients, strict=False)),
            self._moments["head"],
            lr=rates[0],
            weight_decay=self._weight_decay,
            is_active=is_active,
        )
        self._move(
            self._learned,
            dict(zip(self._learned, gradients[len(self._head) :], strict=True)),
            self._moments["learned"],
            lr=rates[1],
            weight_decay=torch.zeros_like(self._weight_decay),
            is_active=is_active,
        )


def key(learner: Learner) -> tuple[Any, ...]:
    """Tell what runs of one stack have in common: everything but seeds, labels and numbers."""
    task, method = learner.task, learner.task.method
    schedule = task.schedule
    shapes = {name: leaf.shape for name, leaf in trees.flatten(learner.moment()).items()}
    return (
        method.loss_module,
        method.selection_module,
        *(_common(options) for options in (method.loss_options, method.select_options)),
        (method.batch_size, method.rows_per_class, method.bank, method.bank_size),
        (schedule.epochs, schedule.dim, learner.epochs_done),
        tuple(sorted(shapes.items())),
    )


def _common(options: Mapping[str, Any]) -> tuple[Any, ...]:
    """List the options, the values of numbers left out."""
    return tuple(
        (name, float if isinstance(value, float) else value)
        for name, value in sorted(options.items())
    )


def _varied_options(learners: Sequence[Learner], features: Tensor) -> dict[str, Tensors]:
    """Collect the numbers among the options that differ between runs: name -> (R,)."""

    def of(part: str) -> Tensors:
        options = [getattr(learner.task.method, part) for learner in learners]
        return {
            name: torch.tensor([each[name] for each in options], device=features.device)
            for name in options[0]
            if len({each[name] for each in options}) > 1
        }

    return {part: of(part) for part in ("loss_options", "select_options")}


def _step(
    method: Method, features: Tensor, now: Moment, index: Tensor, varied: dict[str, Tensors]
) -> Stepped:
    """Take one run's step with the options that are its own."""
    if any(varied.values()):
        loss = {**method.loss_options, **varied["loss_options"]}
        select = {**method.select_options, **varied["select_options"]}
        method = replace(method, loss_options=loss, select_options=select)
    return step(method, features, now, index)


def _trained(learner: Learner) -> tuple[Tensors, Tensors, dict[str, optimiser.Moments]]:
    return learner.head, learner.learned, learner.moments


def _between(learner: Learner) -> tuple[State, Bank, Tensors]:
    """Collect what a run may find out anew between two epochs."""
    return learner.state, learner.bank, learner.survey
