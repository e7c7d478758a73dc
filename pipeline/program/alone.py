"""Runs that each take their steps alone: one run on each core, or one after the other.

On a CPU this beats one program over stacked runs: a run's head and moments stay in the cache of
the core that trains it, there are no barriers between cores inside a step, and torch's own kernels
for one run read and write every number once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from pipeline.program import optimiser
from pipeline.program.learner import Learner
from pipeline.program.rows import ByNumber, Rows, batches
from pipeline.program.step import step


def run_epoch(features: Rows, learners: Sequence[Learner]) -> None:
    """Take the steps of an epoch, each run's with its own batches, and note its mean loss.

    Args:
        features: (N, F); runs on rows on the disk take turns, each has its own windows.
        learners: runs whose epoch has begun.
    """
    stop = Event()
    workers = _workers(features, learners)
    if workers <= 1:
        for learner in learners:
            _run_epoch(features, learner, stop)
        return
    with _one_thread_each(), ThreadPoolExecutor(workers, thread_name_prefix="train") as pool:
        begun = [pool.submit(_run_epoch, features, learner, stop) for learner in learners]
        try:
            for each in begun:
                each.result()
        finally:  # where this one fails or is interrupted, the others need not go on
            stop.set()


def _workers(features: Rows, learners: Sequence[Learner]) -> int:
    """Count the runs that train at the same time."""
    is_safe = all(learner.task.method.is_batched for learner in learners)
    is_cpu = isinstance(features, Tensor) and features.device.type == "cpu"
    return min(torch.get_num_threads(), len(learners)) if is_cpu and is_safe else 1


def _run_epoch(features: Rows, learner: Learner, stop: Event) -> None:
    index = learner.draw_batches()  # (steps, B)
    walk = Walk(learner, len(index))
    with closing(batches(features, index)) as steps:
        for at, (rows, source) in enumerate(steps):
            if stop.is_set():
                return
            walk.step(source, rows, at)
    walk.end()


class Walk:
    """One run on its way through the steps of an epoch."""

    def __init__(self, learner: Learner, steps: int) -> None:
        """Let the run's parameters take gradients.

        Args:
            learner: the run.
            steps: of the epoch.
        """
        self._learner, self._steps = learner, steps
        self._now = learner.moment()
        self._leaves = [*learner.head.values(), *learner.learned.values()]
        # Small tensors that outlive their step would lie scattered between the large ones that do
        # not, and keep the system from using that memory again.
        self._losses, self._kept = torch.zeros(2, steps, device=self._leaves[0].device)
        for leaf in self._leaves:
            leaf.requires_grad_()

    def step(self, source: ByNumber, rows: Tensor, number: int) -> None:
        """Take a step.

        Args:
            source: whatever holds the features of these rows.
            rows: (B,) row numbers or `ABSENT`.
            number: of the step, from 0.
        """
        run, schedule = self._learner, self._learner.task.schedule
        stepped = step(run.task.method, source, self._now, rows)
        # (torch.func.grad gives the same, but its first call imports the compiler, some seconds.)
        gradients = iter(torch.autograd.grad(stepped.loss, self._leaves))
        share = schedule.falling(run.epochs_done + number / self._steps)
        for name, parameters, lr, weight_decay in (
            ("head", run.head, schedule.lr, schedule.weight_decay),
            ("learned", run.learned, schedule.proxy_lr, 0.0),
        ):
            optimiser.update(
                parameters,
                {each: next(gradients) for each in parameters},
                run.moments[name],
                lr=share * lr,
                weight_decay=weight_decay,
            )
        self._now = self._now._replace(state=stepped.state, bank=stepped.bank)
        self._losses[number], self._kept[number] = stepped.loss.detach(), stepped.kept

    def end(self) -> None:
        """Leave to the run what it has found out on the way."""
        for leaf in self._leaves:
            leaf.requires_grad_(False)
        self._learner.state, self._learner.bank = self._now.state, self._now.bank
        self._learner.losses.append(self._losses.mean())
        self._learner.kept.append(self._kept.mean())


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let torch and NumPy use one thread within each of ours."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
