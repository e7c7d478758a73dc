"""Runs that each take their steps alone: one run on each core, or one after the other.

On a CPU this beats one program over stacked runs: a run's head and moments stay in the cache of
the core that trains it, there are no barriers between cores inside a step, and torch's own kernels
for one run read and write every number once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import torch
from torch import Tensor

from pipeline.program import optimiser
from pipeline.program.learner import Learner
from pipeline.program.step import step


def run_epoch(features: Tensor, learners: Sequence[Learner]) -> None:
    """Take the steps of an epoch, each run's with its own batches, and note its mean loss.

    Args:
        features: (N, F).
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


def _workers(features: Tensor, learners: Sequence[Learner]) -> int:
    """Count the runs that train at the same time."""
    is_safe = all(learner.task.method.is_batched for learner in learners)
    is_cpu = features.device.type == "cpu"
    return min(torch.get_num_threads(), len(learners)) if is_cpu and is_safe else 1


def _run_epoch(features: Tensor, learner: Learner, stop: Event) -> None:
    method, schedule, number = learner.task.method, learner.task.schedule, learner.epochs_done
    index = learner.draw_batches().to(features.device)  # (steps, B)
    head, learned = (
        {name: value.requires_grad_() for name, value in parameters.items()}
        for parameters in (learner.head, learner.learned)
    )
    leaves = [*head.values(), *learned.values()]
    now = learner.moment()
    losses, kept = [], []
    for at, rows in enumerate(index):
        if stop.is_set():
            return
        stepped = step(method, features, now, rows)
        # (torch.func.grad gives the same, but its first call imports the compiler, some seconds.)
        gradients = torch.autograd.grad(stepped.loss, leaves)
        share = schedule.falling(number + at / len(index))
        optimiser.update(
            head,
            dict(zip(head, gradients, strict=False)),
            learner.moments["head"],
            lr=share * schedule.lr,
            weight_decay=schedule.weight_decay,
        )
        optimiser.update(
            learned,
            dict(zip(learned, gradients[len(head) :], strict=True)),
            learner.moments["learned"],
            lr=share * schedule.proxy_lr,
            weight_decay=0.0,
        )
        now = now._replace(state=stepped.state, bank=stepped.bank)
        losses.append(stepped.loss.detach())
        kept.append(stepped.kept)
    for leaf in leaves:
        leaf.requires_grad_(False)
    learner.state, learner.bank = now.state, now.bank
    learner.losses.append(torch.stack(losses).mean())
    learner.kept.append(torch.stack(kept).mean())


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let torch use one thread within each of ours."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
