"""Every kind of head, with dropout and noise, keeps what the training program promises.

Stacked runs are what each is alone, a run that goes on ends like one that never stopped, a step
asks the host nothing, and what is absent or paused changes nothing.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipeline.program import together
from pipeline.program.fit import Runs, fit
from pipeline.program.learner import Learner, Task, begin
from pipeline.program.loop import Program, Way
from pipeline.program.sampling import ABSENT
from pipeline.program.schedule import Schedule
from pipeline.program.seeds import Seeds
from pipeline.program.snapshots import snapshot

from .methods import CLASSES, clouds, method_with
from .test_stacks import Questions, memory_of

USUAL = Schedule(epochs=2, dim=8, lr=3e-3, proxy_lr=1e-2, weight_decay=1e-4)
SCHEDULES = {
    "mlp": replace(USUAL, head="mlp", hidden=6),
    "dropout": replace(USUAL, dropout=0.3),
    "noise": replace(USUAL, feature_noise=0.5),
    "all": replace(USUAL, head="residual", hidden=6, dropout=0.3, feature_noise=0.5),
}
METHODS = {"prism": "prism", "proxy-anchor": "none", "softmax": "co-teaching"}


def tasks(name: str, loss: str) -> tuple[Tensor, list[Task]]:
    """Two runs of a schedule; of numbers that may differ, the second has others."""
    features, labels = clouds()
    first, method = SCHEDULES[name], method_with(loss, METHODS[loss])
    second = replace(first, dropout=first.dropout / 2, feature_noise=first.feature_noise / 2)
    runs = enumerate(zip(labels, (first, second), strict=True))
    return features, [Task(own, CLASSES, method, each, Seeds.of(run)) for run, (own, each) in runs]


def trained(features: Tensor, given: list[Task], way: Way) -> list[Learner]:
    runs = [begin(features, each) for each in given]
    program = Program(features, runs, way=way)
    for _ in range(2):
        program.epoch()
    return runs


@pytest.mark.parametrize(
    ("name", "loss"), [("all", "proxy-anchor"), ("all", "softmax"), ("mlp", "prism")]
)
def test_stacked_runs_are_what_each_run_is_alone(name, loss):
    features, given = tasks(name, loss)
    stacked = trained(features, given, "together")
    assert together.key(stacked[0]) == together.key(stacked[1])
    for found, expected in zip(stacked, trained(features, given, "alone"), strict=True):
        for part in ("head", "learned", "losses", "kept"):
            ours, theirs = getattr(found, part), getattr(expected, part)
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4, msg=part)


@pytest.mark.parametrize("way", ["alone", "together"])
def test_a_run_goes_on_from_a_snapshot_to_the_same_last_bit(way):
    features, given = tasks("all", "proxy-anchor")
    kept: dict[str, Tensor] = {}

    def observe(runs: Runs) -> None:
        if runs[0].epochs_done == 1:
            kept.update(snapshot(runs))

    whole = fit(features, given, observe=observe, way=way)
    again = fit(features, given, snapshot=kept, way=way)
    torch.testing.assert_close(again, whole, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ["dropout", "noise"])
def test_every_step_sees_its_rows_anew_and_another_seed_sees_them_otherwise(name):
    features, (one, _) = tasks(name, "proxy-anchor")
    usual = replace(one, schedule=USUAL)
    other = replace(one, seeds=Seeds(0, 1))
    heads = [trained(features, [each], "alone")[0].head["weight"] for each in (one, usual, other)]
    assert not any(torch.equal(heads[0], each) for each in heads[1:])
    learner = begin(features, one)
    before = learner.clock.clone()
    Program(features, [learner], way="alone").epoch()
    assert learner.clock - before == len(learner.draw_batches())


def test_a_stack_asks_the_host_nothing_and_what_is_paused_changes_nothing():
    features, given = tasks("all", "softmax")
    runs = [begin(features, each) for each in given]
    for run in runs:
        run.look(features)
    stack = together.Stack(features, runs)
    index, _, rates = stack._draw()
    index, rates, sums = index[:, :2], rates[:, :, :2], torch.zeros(2, 2)
    places = {part: leaf.data_ptr() for part, leaf in memory_of(stack).items()}
    with Questions() as host:
        stack._advance(index, rates, sums)
    assert not host.asked
    assert {part: leaf.data_ptr() for part, leaf in memory_of(stack).items()} == places
    before = {part: leaf.detach().clone() for part, leaf in memory_of(stack).items()}
    stack._advance(torch.full_like(index, ABSENT), torch.zeros_like(rates), sums)
    for part, leaf in memory_of(stack).items():
        torch.testing.assert_close(leaf.detach(), before[part], rtol=0, atol=0, equal_nan=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
def test_a_compiled_stack_learns_what_one_that_is_not_compiled_learns():
    features, given = tasks("all", "softmax")
    torch.compiler.reset()
    compiled, plain = (trained(features, given, way) for way in ("compiled", "together"))
    for ours, theirs in zip(compiled, plain, strict=True):
        torch.testing.assert_close(ours.head, theirs.head, rtol=1e-4, atol=1e-4)
