"""The training program: runs do not see each other, and a seed decides everything."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.choices import catalogue
from pipeline.choices.assembly import method_of
from pipeline.choices.recipes import RECIPES
from pipeline.choices.settings import Settings
from pipeline.program.fit import Fit, fit
from pipeline.program.schedule import Schedule

METHODS = [
    name for name in dict.fromkeys([*RECIPES, *catalogue.entries("losses")]) if name != "none"
]
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


def tensors(found: Fit, run: int) -> dict[str, Tensor]:
    parts = {**found.head, **{f"loss.{name}": t for name, t in found.learned.items()}}
    state = found.selection[run]
    return {
        **{name: tensor[run] for name, tensor in parts.items()},
        "weights": state.weights,
        "losses": found.losses[:, run],
        "kept": found.kept[:, run],
    }


def test_the_balanced_sampler_gives_the_runs_epochs_of_different_length():
    sampled = method("contrastive")
    lengths = [
        len(sampled.sample(labels, torch.Generator().manual_seed(0), {}))
        for labels in labels_of_runs(clouds()[1])
    ]
    assert len(set(lengths)) > 1, "the test below would show too little"


@pytest.mark.parametrize("name", METHODS)
def test_runs_together_are_what_each_run_is_alone(name):
    """Only the order of additions may differ: 1e-4 after two epochs of float32."""
    features, true = clouds()
    labels = labels_of_runs(true)
    together = fit(features, labels, CLASSES, method(name), SCHEDULE, SEEDS)
    for run, seed in enumerate(SEEDS):
        alone = fit(features, labels[run : run + 1], CLASSES, method(name), SCHEDULE, [seed])
        expected = tensors(alone, 0)
        for part, found in tensors(together, run).items():
            torch.testing.assert_close(found, expected[part], rtol=1e-4, atol=1e-4, msg=part)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_weights_bit_for_bit(name):
    features, true = clouds()
    first, second = (
        fit(features, true[None], CLASSES, method(name), SCHEDULE, [3]) for _ in range(2)
    )
    for part, tensor in tensors(first, 0).items():
        assert torch.equal(tensor, tensors(second, 0)[part]), part


def test_another_seed_gives_other_weights():
    features, true = clouds()
    one, other = (
        fit(features, true[None], CLASSES, method("prism"), SCHEDULE, [seed]) for seed in (3, 4)
    )
    assert not torch.equal(one.head["weight"], other.head["weight"])


@pytest.mark.parametrize("name", ["proxy-anchor", "prism", "smooth-proxy-anchor"])
def test_training_neither_reads_nor_moves_the_global_generator(name):
    features, true = clouds()
    torch.manual_seed(0)
    first = fit(features, true[None], CLASSES, method(name), SCHEDULE, [3])
    torch.manual_seed(99)
    before = torch.get_rng_state()
    second = fit(features, true[None], CLASSES, method(name), SCHEDULE, [3])
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
    features, true = clouds()
    noisy = labels_of_runs(true)[1:2]
    found = fit(features, noisy, CLASSES, method(loss, selection), SCHEDULE, [0])
    assert found.losses.isfinite().all()
    assert found.losses.shape == found.kept.shape == (2, 1)
    assert ((found.kept >= 0) & (found.kept <= 1)).all()


@pytest.mark.parametrize("bank", ["full", "queue"])
@pytest.mark.parametrize("bank_size", [None, 30])
def test_both_memories_train(bank, bank_size):
    features, true = clouds()
    chosen = method("memory-contrastive", bank=bank, bank_size=bank_size)
    found = fit(features, true[None], CLASSES, chosen, SCHEDULE, [0])
    assert found.losses.isfinite().all()


def test_every_proxy_moves():
    features, true = clouds()
    still = Schedule(epochs=1, dim=8, lr=1e-30, proxy_lr=1e-30, weight_decay=0.0)
    start, end = (
        fit(features, true[None], CLASSES, method("proxy-anchor"), schedule, [0])
        for schedule in (still, SCHEDULE)
    )
    moved = end.learned["proxies"] - start.learned["proxies"]  # (1, C, D)
    assert (moved.norm(dim=-1) > 1e-3).all()


def test_progress_is_told_from_nothing_to_all():
    features, true = clouds()
    seen: list[tuple[int, int]] = []
    fit(
        features,
        true[None],
        CLASSES,
        method("contrastive"),
        SCHEDULE,
        [0],
        lambda *now: seen.append(now),
    )
    assert seen == [(0, 2), (1, 2), (2, 2)]
