"""What a stack of runs promises a graphics processor, for every method.

A step asks the host nothing, tensors stay where they are, and what is absent or paused changes
nothing; options and rates that are numbers may differ from run to run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.choices.catalogue import Entry
from pipeline.program import together, trees
from pipeline.program.learner import Learner, Task, begin
from pipeline.program.loop import Program
from pipeline.program.method import Method
from pipeline.program.sampling import ABSENT
from pipeline.program.schedule import Schedule
from pipeline.program.seeds import Seeds

from .examples import LOSSES, SELECTIONS
from .methods import CLASSES, clouds, every_method, method

SCHEDULE = Schedule(epochs=2, dim=8, lr=3e-3, proxy_lr=1e-2, weight_decay=1e-4)
# Operations whose result's shape or value the host has to wait for.
WAITING = {
    *("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select"),
    *("_unique", "_unique2", "unique_dim", "unique_consecutive", "repeat_interleave"),
}


class Questions(TorchDispatchMode):
    """Notes the operations that a graphics processor would have to answer the host for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler, some seconds

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any | None = None
    ) -> Any:
        if func.overloadpacket.__name__ in WAITING:
            self.asked.append(str(func))
        return func(*args, **(kwargs or {}))


def begun(methods: list[Method]) -> tuple[Tensor, list[Learner]]:
    """Two runs whose first epoch has begun."""
    features, labels = clouds()
    runs = [
        begin(features, Task(own, CLASSES, each, SCHEDULE, Seeds.of(seed)))
        for seed, (own, each) in enumerate(zip(labels, methods, strict=True))
    ]
    for run in runs:
        run.look(features)
    return features, runs


def memory_of(stack: together.Stack) -> dict[str, Tensor]:
    return trees.flatten({"now": stack._now, "moments": stack._moments})


@every_method
def test_a_step_asks_the_host_nothing_and_leaves_every_tensor_where_it_is(name):
    features, runs = begun([method(name)] * 2)
    stack = together.Stack(features, runs)
    index, _, rates = stack._draw()
    before = {part: leaf.data_ptr() for part, leaf in memory_of(stack).items()}
    with Questions() as host:
        stack._advance(index[:, :2], rates[:, :, :2], torch.zeros(2, 2))
    assert not host.asked
    assert {part: leaf.data_ptr() for part, leaf in memory_of(stack).items()} == before


@every_method
def test_absent_rows_and_paused_runs_change_nothing(name):
    """That is how a recording is warmed up, and how short epochs wait for longer ones."""
    features, runs = begun([method(name)] * 2)
    stack = together.Stack(features, runs)
    index, _, rates = stack._draw()
    stack._advance(index[:, :2], rates[:, :, :2], torch.zeros(2, 2))
    before = {part: leaf.detach().clone() for part, leaf in memory_of(stack).items()}
    absent, paused = torch.full_like(index[:, :2], ABSENT), torch.zeros_like(rates[:, :, :2])
    sums = torch.zeros(2, 2)
    stack._advance(absent, paused, sums)
    for part, leaf in memory_of(stack).items():
        torch.testing.assert_close(leaf.detach(), before[part], rtol=0, atol=0, equal_nan=True)
    assert not sums.any()


def test_a_question_would_be_noticed_under_vmap():
    with Questions() as host:
        torch.tensor([1.0, 0.0]).nonzero()
        bool(torch.tensor(1.0) > 0)
        torch.func.vmap(lambda run: run.sum())(torch.ones(2, 3))
    assert len(host.asked) == 2


def with_numbers(chosen: Method, change: float) -> Method:
    """The method with all of its fractional options said, each changed by a share of itself."""

    def options_of(entries: list[Entry], module: ModuleType, given: Mapping[str, Any]) -> Any:
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        (entry,) = (each for each in entries if each.name == name)
        values = {key: each.default for key, each in entry.options.items()} | dict(given)
        numbers = {key: value for key, value in values.items() if isinstance(value, float)}
        return dict(given) | {key: value + change * (value or 1) for key, value in numbers.items()}

    return replace(
        chosen,
        loss_options=options_of(LOSSES, chosen.loss_module, chosen.loss_options),
        select_options=options_of(SELECTIONS, chosen.selection_module, chosen.select_options),
    )


@every_method
def test_fractional_options_and_rates_may_differ_between_the_runs_of_a_stack(name):
    features, labels = clouds()
    tasks = [
        Task(
            labels[run],
            CLASSES,
            with_numbers(method(name), 0.1 * run),
            replace(SCHEDULE, lr=3e-3 * (1 + run), proxy_lr=0.02 - 0.01 * run, weight_decay=run),
            Seeds.of(run),
        )
        for run in range(2)
    ]
    stacked = [begin(features, task) for task in tasks]
    assert together.key(stacked[0]) == together.key(stacked[1])
    Program(features, stacked, way="together").epoch()
    for task, found in zip(tasks, stacked, strict=True):
        alone = begin(features, task)
        Program(features, [alone], way="alone").epoch()
        for part in ("head", "learned", "losses", "kept"):
            ours, theirs = getattr(found, part), getattr(alone, part)
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4, msg=part)


@pytest.mark.slow
@every_method
@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
def test_a_compiled_stack_learns_what_one_that_is_not_compiled_learns(name):
    found = []
    for compiles in (False, True):
        torch.compiler.reset()
        features, runs = begun([with_numbers(method(name), 0.1 * run) for run in range(2)])
        together.Stack(features, runs, compiles=compiles).run_epoch()
        found.append(runs)
    for compiled, plain in zip(*found, strict=True):
        torch.testing.assert_close(compiled.head, plain.head, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(compiled.learned, plain.learned, rtol=1e-4, atol=1e-4)
