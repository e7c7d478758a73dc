"""Losses of pytorch-metric-learning in our program: values, runs, weights, random numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType, ModuleType
from typing import Any

import pytest
import torch
from pytorch_metric_learning import losses
from torch import Tensor
from torch.nn import functional

from pipeline.choices import library
from pipeline.choices.assembly import method_of
from pipeline.choices.catalogue import Value
from pipeline.choices.settings import Settings
from pipeline.losses import _library
from pipeline.program.batch import Batch
from pipeline.program.fit import Fit, Runs, fit
from pipeline.program.learner import Task
from pipeline.program.schedule import Schedule
from pipeline.program.seeds import Seeds
from pipeline.program.snapshots import snapshot

ROWS, FEATURES, CLASSES, DIM = 72, 10, 6, 8
SCHEDULE = Schedule(epochs=1, dim=DIM, lr=3e-3, proxy_lr=1e-2, weight_decay=1e-4)
USABLE = sorted(
    name
    for name, value in vars(losses).items()
    if isinstance(value, type)
    and issubclass(value, losses.BaseMetricLossFunction)
    and name not in library._UNUSABLE
)
TWO_EPOCHS = replace(SCHEDULE, epochs=2)
REQUIRED = {"RankedListLoss": {"loss.margin": 0.4, "loss.Tn": 1}}
WITH_PROXIES = [
    "ArcFaceLoss",
    "CosFaceLoss",
    "LargeMarginSoftmaxLoss",
    "NormalizedSoftmaxLoss",
    "ProxyAnchorLoss",
    "ProxyNCALoss",
    "SoftTripleLoss",
    "SphereFaceLoss",
    "SubCenterArcFaceLoss",
]
every_usable = pytest.mark.parametrize("name", USABLE)


def settings(name: str, options: Mapping[str, Value]) -> Settings:
    given = REQUIRED.get(name, {}) | {f"loss.{key}": value for key, value in options.items()}
    return Settings(loss=f"pml:{name}", batch_size=24, options=given)


def train(
    name: str,
    labels: Tensor,
    seeds: list[int],
    options: Mapping[str, Value] = MappingProxyType({}),
    *,
    schedule: Schedule = SCHEDULE,
    **more: Any,
) -> list[Fit]:
    """Train on random clouds of rows; labels (R, N)."""
    generator = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(CLASSES, FEATURES, generator=generator)
    noise = torch.randn(ROWS, FEATURES, generator=generator)
    features = centres[torch.arange(ROWS) % CLASSES] + noise
    method = method_of(settings(name, options))
    tasks = [
        Task(of_run, CLASSES, method, schedule, Seeds.of(seed))
        for of_run, seed in zip(labels, seeds, strict=True)
    ]
    return fit(features, tasks, **more)


def labels_of_runs() -> Tensor:
    """Labels (2, N): right ones and noisy ones."""
    generator = torch.Generator().manual_seed(1)
    true = torch.arange(ROWS) % CLASSES
    drawn = torch.randint(CLASSES, (ROWS,), generator=generator)
    return torch.stack(
        [true, torch.where(torch.rand(ROWS, generator=generator) < 0.3, drawn, true)]
    )


def tensors(found: Fit) -> dict[str, Tensor]:
    learned = {f"loss.{name}": each for name, each in found.learned.items()}
    return {**found.head, **learned, "losses": found.losses}


def bound(
    name: str, options: Mapping[str, Value] = MappingProxyType({})
) -> tuple[ModuleType, dict[str, Tensor]]:
    """The loss's module and parameters that it has drawn."""
    module = _library.bind(f"pml:{name}", settings(name, options).options_of("loss"))
    drawn = module.parameters(CLASSES, DIM, torch.Generator().manual_seed(5))
    return module, {key: value.requires_grad_() for key, value in drawn.items()}


def make_batch(labels: list[int], weights: list[float] | None = None, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(len(labels), DIM, generator=generator)
    return Batch(
        embeddings=functional.normalize(rows, dim=1).requires_grad_(),
        labels=torch.tensor(labels, dtype=torch.int64),
        rows=torch.arange(len(labels)),
        weights=torch.tensor(weights or [1.0] * len(labels)),
    )


def gradients(value: Tensor, parameters: dict[str, Tensor], batch: Batch) -> list[Tensor]:
    return list(torch.autograd.grad(value, [batch.embeddings, *parameters.values()]))


@every_usable
def test_two_runs_together_are_what_each_is_alone(name):
    labels = labels_of_runs()
    together = train(name, labels, [0, 1])
    for run, seed in enumerate([0, 1]):
        assert together[run].losses.isfinite().all()
        (one,) = train(name, labels[run : run + 1], [seed])
        alone = tensors(one)
        for part, found in tensors(together[run]).items():
            assert found.isfinite().all(), part
            torch.testing.assert_close(found, alone[part], msg=part)


@every_usable
def test_a_training_goes_on_from_a_snapshot_to_the_same_last_bit(name):
    labels, kept = labels_of_runs(), {}

    def observe(runs: Runs) -> None:
        if runs[0].epochs_done == 1:
            kept.update(snapshot(runs))

    whole = train(name, labels, [0, 1], schedule=TWO_EPOCHS, observe=observe)
    resumed = train(name, labels, [0, 1], schedule=TWO_EPOCHS, snapshot=kept)
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("TripletMarginLoss", {"triplets_per_anchor": 2}),
        ("MarginLoss", {"triplets_per_anchor": 2}),
        ("ProxyAnchorLoss", {}),
        ("SubCenterArcFaceLoss", {}),
    ],
)
def test_training_neither_reads_nor_moves_the_global_generator(name, options):
    labels = labels_of_runs()[:1]
    torch.manual_seed(0)
    (first,) = train(name, labels, [3], options)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    (second,) = train(name, labels, [3], options)
    assert torch.equal(torch.get_rng_state(), before)
    for part, found in tensors(first).items():
        assert torch.equal(found, tensors(second)[part]), part


@every_usable
def test_value_and_gradients_are_finite_where_pairs_are_missing(name):
    module, parameters = bound(name)
    for labels in ([0], [0, 0], [0, 1], [0, 1, 2, 3, 4], [1] * 6, [0, 0, 1]):
        batch = make_batch(labels)
        value = module.loss(parameters, batch)
        assert value.shape == ()
        assert value.isfinite(), labels
        assert all(each.isfinite().all() for each in gradients(value, parameters, batch)), labels


@every_usable
def test_without_any_weight_the_loss_is_zero_with_a_live_graph(name):
    module, parameters = bound(name)
    batch = make_batch([0, 0, 1, 1], [0.0] * 4)
    value = module.loss(parameters, batch)
    assert value == 0
    assert not any(each.any() for each in gradients(value, parameters, batch))


@every_usable
def test_a_row_of_weight_0_is_absent_and_any_other_counts_fully(name):
    module, parameters = bound(name)
    labels = [0, 0, 1, 1, 2, 2, 0, 1]
    batch = make_batch(labels, [1.0, 0.4, 1.0, 0.9, 0.1, 1.0, 0.0, 0.0])
    short = make_batch(labels[:6])._replace(embeddings=batch.embeddings[:6])
    value = module.loss(parameters, batch)
    torch.testing.assert_close(value, module.loss(parameters, short))
    by_rows = gradients(value, parameters, batch)[0]
    assert not by_rows[6:].any()
    assert by_rows[:6].any()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ProxyAnchorLoss", {"margin": 0.2, "alpha": 16}),
        ("MultiSimilarityLoss", {"alpha": 3, "base": 0.4}),
        ("TripletMarginLoss", {"margin": 0.2, "swap": True}),
    ],
)
def test_value_and_gradients_are_those_of_the_library(name, options):
    module, parameters = bound(name, options)
    sizes = {"num_classes": CLASSES, "embedding_size": DIM} if parameters else {}
    direct = getattr(losses, name)(**sizes, **options)
    direct.load_state_dict(parameters)
    batch = make_batch([0, 0, 1, 1, 2, 2, 3, 3])
    value = module.loss(parameters, batch)
    expected = direct(batch.embeddings, batch.labels)
    assert torch.equal(value, expected)
    by_library = torch.autograd.grad(expected, [batch.embeddings, *direct.parameters()])
    for found, wanted in zip(gradients(value, parameters, batch), by_library, strict=True):
        torch.testing.assert_close(found, wanted)


@every_usable
def test_classes_that_learn_proxies_get_shuffled_batches(name):
    module, parameters = bound(name)
    assert (module.SAMPLER == "shuffle") == bool(parameters) == (name in WITH_PROXIES)
    assert module.BATCH_SIZE == 64


def test_start_values_follow_the_generator():
    module, parameters = bound("ProxyAnchorLoss")
    again, other = (
        module.parameters(CLASSES, DIM, torch.Generator().manual_seed(seed)) for seed in (5, 6)
    )
    assert parameters["proxies"].shape == (CLASSES, DIM)
    assert torch.equal(parameters["proxies"], again["proxies"])
    assert not torch.equal(parameters["proxies"], other["proxies"])


def test_the_margin_loss_can_learn_a_boundary_for_each_class():
    for found in train("MarginLoss", labels_of_runs(), [0, 1], {"learn_beta": True}):
        assert found.learned["beta"].shape == (CLASSES,)
        assert not torch.equal(found.learned["beta"], torch.full((CLASSES,), 1.2))
