"""A run that is stopped between two epochs and goes on ends as if it had never been stopped."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.choices import catalogue
from pipeline.choices.assembly import method_of
from pipeline.choices.recipes import RECIPES
from pipeline.choices.settings import Settings
from pipeline.program.fit import Fit, Runs, fit
from pipeline.program.learner import Task
from pipeline.program.loop import Way
from pipeline.program.method import Method
from pipeline.program.schedule import Schedule
from pipeline.program.seeds import Seeds
from pipeline.program.snapshots import snapshot

from .examples import LOSSES, SELECTIONS, generator

ROWS, FEATURES, CLASSES, SEEDS = 96, 10, 6, [3, 4]
SCHEDULE = Schedule(epochs=4, dim=8, lr=3e-3, proxy_lr=1e-2, weight_decay=1e-4)
NAMES = list(dict.fromkeys([*RECIPES, *(entry.name for entry in LOSSES)]))
NAMES.remove("none")
FAST = {"confidence": {"select.hidden": 16, "select.epochs": 2}}  # a smaller module


def method(loss: str, selection: str | None = None, **changes: object) -> Method:
    settings = Settings(loss=loss, selection=selection, batch_size=24, **changes)
    known = catalogue.find("selection", settings.recipe.selection).options
    options = {f"select.{name}": 0.3 for name, option in known.items() if option.is_required}
    options |= FAST.get(settings.recipe.selection, {})
    return method_of(settings.replaced(options=options).check())


def clouds() -> tuple[Tensor, Tensor]:
    """Features (N, F) and the labels (R, N) of two runs, a third of them wrong."""
    labels = torch.arange(ROWS) % CLASSES
    features = torch.randn(CLASSES, FEATURES, generator=generator(0))[labels]
    features = features + 0.7 * torch.randn(ROWS, FEATURES, generator=generator(1))
    other = torch.randint(CLASSES, (2, ROWS), generator=generator(2))
    is_wrong = torch.rand(2, ROWS, generator=generator(3)) < 1 / 3
    return features, torch.where(is_wrong, other, labels)


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
    check(method(name), way="together")


@pytest.mark.parametrize("name", NAMES)
def test_every_method_goes_on_from_a_snapshot_to_the_same_last_bit(name):
    check(method(name))


@pytest.mark.parametrize("name", [entry.name for entry in SELECTIONS])
def test_every_selection_goes_on_from_a_snapshot_to_the_same_last_bit(name):
    check(method("normalized-softmax", name))


def test_a_queue_goes_on_with_what_it_held():
    check(method("memory-contrastive", bank="queue", bank_size=40))


@pytest.mark.parametrize("stop_after", [0, 4])
def test_a_snapshot_may_be_taken_before_the_first_and_after_the_last_epoch(stop_after):
    check(method("prism"), stop_after)
