"""No training step makes a tensor of C x C or N x N; its largest grows with N and C, not faster.

Sizes are chosen such that C x C and N x N lie far above all that a step may make: B x N against a
memory of all rows, B x C against proxies, B x B x B triplets, N x F and C x D what is kept. What is
done between steps (`start`, `survey`, `look`) may be larger and is not measured.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from pipeline.program.learner import Learner, Task, begin
from pipeline.program.loop import Program, Way
from pipeline.program.schedule import Schedule
from pipeline.program.seeds import Seeds

from ..allocations import Largest
from .examples import generator
from .methods import every_method, method

ROWS, CLASSES, FEATURES, DIM, BATCH = 600, 500, 8, 4, 16  # N, C, F, D, B
SCHEDULE = Schedule(epochs=4, dim=DIM, lr=3e-3, proxy_lr=1e-2, weight_decay=1e-4)


def started(name: str, times: int) -> tuple[Tensor, Learner]:
    """Features and a run with `times` the rows and classes, whose epoch has begun."""
    rows, classes = times * ROWS, times * CLASSES
    features = torch.randn(rows, FEATURES, generator=generator(0))
    labels = torch.arange(rows) % classes
    learner = begin(features, Task(labels, classes, method(name, BATCH), SCHEDULE, Seeds.of(0)))
    learner.look(features)
    return features, learner


@cache
def largest(name: str, way: Way, times: int = 1) -> tuple[int, str]:
    """The most elements in two steps, their gradients and updates, and what operation made them."""
    features, learner = started(name, times)
    program = Program(features, [learner], way=way)
    index = learner.draw_batches()[:2]
    learner.draw_batches = lambda: index
    with Largest() as seen:
        program.run_epoch()
    return seen.elements, seen.operation


@every_method
@pytest.mark.parametrize("way", ["alone", "together"])
def test_no_step_makes_a_matrix_of_all_classes_or_all_rows(name, way):
    elements, operation = largest(name, way)
    kept = (ROWS + CLASSES) * max(FEATURES, DIM)
    allowed = 4 * max(BATCH * ROWS, BATCH * CLASSES, BATCH**3, kept)
    assert allowed < min(CLASSES**2, ROWS**2) / 4
    assert 0 < elements <= allowed, operation


@every_method
def test_twice_the_rows_and_classes_make_a_step_at_most_twice_as_large(name):
    elements, operation = largest(name, "alone", times=2)
    assert elements <= 2.05 * largest(name, "alone")[0], operation


def test_a_matrix_of_all_rows_would_be_noticed_under_vmap_and_in_a_gradient():
    rows = torch.randn(1, ROWS, DIM, requires_grad=True)
    with Largest() as seen:
        torch.func.vmap(lambda run: run @ run.T)(rows)
    assert seen.elements == ROWS**2
    with Largest() as seen:
        expanded = rows[0].sum(dim=1).expand(ROWS, ROWS)  # makes nothing
        assert seen.elements == ROWS
        torch.autograd.grad(expanded.sum() ** 2, rows)
    assert seen.elements < ROWS**2
