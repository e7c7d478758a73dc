"""A run that is stopped between two epochs and goes on ends as if it had never been stopped."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.choices.recipes import TRAINED
from pipeline.program.fit import Fit, Runs, fit
from pipeline.program.learner import Task
from pipeline.program.loop import Way
from pipeline.program.method import Method
from pipeline.program.schedule import Schedule
from pipeline.program.seeds import Seeds
from pipeline.program.snapshots import snapshot

from .examples import LOSSES, SELECTIONS
from .methods import CLASSES, clouds, method_with

SEEDS = [3, 4]
SCHEDULE = Schedule(epochs=4, dim=8, lr=3e-3, proxy_lr=1e-2, weight_decay=1e-4)
NAMES = list(dict.fromkeys([*TRAINED, *(entry.name for entry in LOSSES)]))


def assert_same(ours: list[Fit], expected: list[Fit]) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=0, equal_nan=True)


def check(chosen: Method, stop_after: int = 2, way: Way = "alone") -> None:
    features, labels = clouds()
    kept: dict[str, Tensor] = {}
    tasks = [
        Task(own, CLASSES, chosen, SCHEDULE, Seeds.of(seed))
        for own, seed in zip(labels, SEEDS, strict=True)
    ]

    def observe(runs: Runs) -> None:
        if runs[0].epochs_done == stop_after:
            kept.update(snapshot(runs))

    whole = fit(features, tasks, observe=observe, way=way)
    assert_same(fit(features, tasks, snapshot=kept, way=way), whole)


@pytest.mark.parametrize("name", ["prism", "prism-parity", "proxy-anchor", "co-teaching"])
def test_stacked_runs_go_on_from_a_snapshot_to_the_same_last_bit(name):
    check(method_with(name), way="together")


@pytest.mark.parametrize("name", NAMES)
def test_every_method_goes_on_from_a_snapshot_to_the_same_last_bit(name):
    check(method_with(name))


@pytest.mark.parametrize("name", [entry.name for entry in SELECTIONS])
def test_every_selection_goes_on_from_a_snapshot_to_the_same_last_bit(name):
    check(method_with("normalized-softmax", name))


def test_a_queue_goes_on_with_what_it_held():
    check(method_with("memory-contrastive", bank="queue", bank_size=40))


@pytest.mark.parametrize("stop_after", [0, 4])
def test_a_snapshot_may_be_taken_before_the_first_and_after_the_last_epoch(stop_after):
    check(method_with("prism"), stop_after)
