"""The training program: runs do not see each other, and a seed decides everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.choices import catalogue
from pipeline.choices.assembly import method_of
from pipeline.choices.recipes import TRAINED
from pipeline.choices.settings import Settings
from pipeline.program import fit as fitting
from pipeline.program.fit import Fit
from pipeline.program.learner import Task
from pipeline.program.method import Method
from pipeline.program.schedule import Schedule
from pipeline.program.seeds import Seeds

METHODS = list(dict.fromkeys([*TRAINED, *catalogue.entries("losses")]))
ROWS, FEATURES, CLASSES, SEEDS = 120, 10, 6, [0, 1, 7]
SCHEDULE = Schedule(epochs=2, dim=8, lr=3e-3, proxy_lr=1e-2, weight_decay=1e-4)


def method(loss: str, selection: str | None = None, **changes: object):
    settings = Settings(loss=loss, selection=selection, batch_size=24, **changes)
    known = catalogue.find("selection", settings.recipe.selection).options
    options = {f"select.{name}": 0.3 for name, option in known.items() if option.is_required}
    if settings.recipe.selection == "confidence":  # a smaller module, for speed
        options = {"select.hidden": 16, "select.epochs": 2}
    return method_of(settings.replaced(options=options).check())


def clouds() -> tuple[Tensor, Tensor]:
    """Features (N, F) and true labels (N,): one cloud a class beside louder nuisance features."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(ROWS) % CLASSES
    signal = 2 * torch.randn(CLASSES, 4, generator=generator)[labels]
    noise = torch.randn(ROWS, FEATURES, generator=generator)
    return torch.cat([signal + noise[:, :4], 2 * noise[:, 4:]], dim=1), labels


def labels_of_runs(true: Tensor) -> Tensor:
    """Labels (R, N) of three runs: right ones, noisy ones, and very uneven classes."""
    generator = torch.Generator().manual_seed(1)
    noisy = torch.where(
        torch.rand(ROWS, generator=generator) < 0.4,
        torch.randint(CLASSES, (ROWS,), generator=generator),
        true,
    )
    uneven = torch.where(torch.arange(ROWS) < 50, 0, true)
    return torch.stack([true, noisy, uneven])


def fit(
    labels: Tensor, chosen: Method, seeds: list[int], schedule: Schedule = SCHEDULE, **more: Any
) -> list[Fit]:
    """Train one run for each row of labels (R, N) and each seed."""
    tasks = [
        Task(of_run, CLASSES, chosen, schedule, Seeds.of(seed))
        for of_run, seed in zip(labels, seeds, strict=True)
    ]
    return fitting.fit(clouds()[0], tasks, **more)


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def alone(name: str, run: int) -> Fit:
    """Train one of the three runs alone, on one core."""
    labels = labels_of_runs(clouds()[1])[run : run + 1]
    with threads(1):
        (found,) = fit(labels, method(name), [SEEDS[run]], way="alone")
    return found


def tensors(found: Fit) -> dict[str, Tensor]:
    learned = {f"loss.{name}": tensor for name, tensor in found.learned.items()}
    others = {"weights": found.selection.weights, "losses": found.losses, "kept": found.kept}
    return {**found.head, **learned, **others}


def test_the_balanced_sampler_gives_the_runs_epochs_of_different_length():
    sampled = method("contrastive")
    lengths = [
        len(sampled.sample(labels, torch.Generator().manual_seed(0), {}))
        for labels in labels_of_runs(clouds()[1])
    ]
    assert len(set(lengths)) > 1, "the test below would show too little"


@pytest.mark.parametrize("name", METHODS)
def test_stacked_runs_are_what_each_run_is_alone(name):
    """Only the order of additions may differ: 1e-4 after two epochs of float32."""
    labels = labels_of_runs(clouds()[1])
    together = fit(labels, method(name), SEEDS, way="together")
    for run in range(len(SEEDS)):
        expected = tensors(alone(name, run))
        for part, found in tensors(together[run]).items():
            torch.testing.assert_close(found, expected[part], rtol=1e-4, atol=1e-4, msg=part)


@pytest.mark.parametrize("name", METHODS)
def test_runs_on_several_cores_are_what_each_run_is_alone_on_one_bit_for_bit(name):
    labels = labels_of_runs(clouds()[1])
    with threads(2):
        beside = fit(labels, method(name), SEEDS)
    for run in range(len(SEEDS)):
        expected = tensors(alone(name, run))
        for part, found in tensors(beside[run]).items():
            assert torch.equal(found, expected[part]), part


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_weights_bit_for_bit(name):
    true = clouds()[1][None]
    (first,), (second,) = (fit(true, method(name), [3]) for _ in range(2))
    for part, tensor in tensors(first).items():
        assert torch.equal(tensor, tensors(second)[part]), part


def test_another_seed_gives_other_weights():
    true = clouds()[1][None]
    (one,), (other,) = (fit(true, method("prism"), [seed]) for seed in (3, 4))
    assert not torch.equal(one.head["weight"], other.head["weight"])


@pytest.mark.parametrize("name", ["proxy-anchor", "prism", "smooth-proxy-anchor"])
def test_training_neither_reads_nor_moves_the_global_generator(name):
    true = clouds()[1][None]
    torch.manual_seed(0)
    (first,) = fit(true, method(name), [3])
    torch.manual_seed(99)
    before = torch.get_rng_state()
    (second,) = fit(true, method(name), [3])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.head["weight"], second.head["weight"])


KINDS = ["multi-similarity", "memory-contrastive", "smooth-proxy-anchor", "softmax"]


@pytest.mark.parametrize(
    ("loss", "selection"),
    [
        (loss, name)
        for loss in KINDS
        for name, entry in catalogue.entries("selection").items()
        if loss == "softmax" or "exchange" not in entry.functions  # two heads compare class scores
    ],
)
def test_every_selection_trains_with_each_kind_of_loss(loss, selection):
    noisy = labels_of_runs(clouds()[1])[1:2]
    (found,) = fit(noisy, method(loss, selection), [0])
    assert found.losses.isfinite().all()
    assert found.losses.shape == found.kept.shape == (2,)
    assert ((found.kept >= 0) & (found.kept <= 1)).all()


@pytest.mark.parametrize("bank", ["full", "queue"])
@pytest.mark.parametrize("bank_size", [None, 30])
def test_both_memories_train(bank, bank_size):
    chosen = method("memory-contrastive", bank=bank, bank_size=bank_size)
    (found,) = fit(clouds()[1][None], chosen, [0])
    assert found.losses.isfinite().all()


def test_every_proxy_moves():
    still = Schedule(epochs=1, dim=8, lr=1e-30, proxy_lr=1e-30, weight_decay=0.0)
    (start,), (end,) = (
        fit(clouds()[1][None], method("proxy-anchor"), [0], schedule)
        for schedule in (still, SCHEDULE)
    )
    moved = end.learned["proxies"] - start.learned["proxies"]  # (C, D)
    assert (moved.norm(dim=-1) > 1e-3).all()


def test_progress_is_told_from_nothing_to_all():
    seen: list[tuple[int, int]] = []
    fit(clouds()[1][None], method("contrastive"), [0], progress=lambda *now: seen.append(now))
    assert seen == [(0, 2), (1, 2), (2, 2)]
