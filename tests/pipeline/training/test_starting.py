"""Where a run begins: drawn as ever, or at a closed form with proxies at the means of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.choices import catalogue
from pipeline.choices.assembly import method_of, schedule_of
from pipeline.choices.settings import Settings
from pipeline.program import heads
from pipeline.program.fit import Fit, Runs, fit
from pipeline.program.learner import Learner, Task, begin, generator
from pipeline.program.snapshots import snapshot
from pipeline.training.closed_form import head_of, statistics_of
from pipeline.training.starting import start_of

ROWS, FEATURES, CLASSES = 120, 10, 6
FORMS = list(catalogue.entries("closed_forms"))
LOSSES = list(catalogue.entries("losses"))


def clouds(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Centred rows (N, F) of uneven directions, and labels of which a quarter is wrong."""
    source = torch.Generator().manual_seed(seed)
    true = torch.arange(ROWS) % CLASSES
    centres = 2 * torch.randn(CLASSES, FEATURES, generator=source)
    spread = torch.linspace(0.5, 2, FEATURES)
    rows = centres[true] + spread * torch.randn(ROWS, FEATURES, generator=source)
    other = torch.randint(CLASSES, (ROWS,), generator=source)
    labels = torch.where(torch.rand(ROWS, generator=source) < 0.25, other, true)
    return rows - rows.mean(dim=0), labels


def settings(start: str = "reliability", **changes: Any) -> Settings:
    given = {"loss": "proxy-anchor", "dim": 8, "epochs": 2, "batch_size": 24, "lr": 3e-4}
    return Settings(**{**given, **changes}, start=start).check()


def task(of: Settings, labels: Tensor, num_classes: int = CLASSES) -> Task:
    parts = method_of(of), schedule_of(of), of.seeds, start_of(of)
    return Task(labels, num_classes, *parts)


def begun(of: Settings) -> Learner:
    rows, labels = clouds()
    return begin(rows, task(of, labels))


def cosines(head: dict[str, Tensor], rows: Tensor) -> Tensor:
    embedded = heads.embed(head, rows)
    return embedded @ embedded.T


@pytest.mark.parametrize("loss", ["proxy-anchor", "prism", "co-teaching"])
def test_a_random_start_is_what_was_drawn_bit_for_bit(loss: str) -> None:
    of = settings("random", loss=loss, seed=5)
    found, drawn = begun(of), generator(5, "start")
    number, method = method_of(of).num_heads, method_of(of)
    expected = [heads.linear(FEATURES, 8, drawn)["weight"] for _ in range(number)]
    assert torch.equal(found.head["weight"], torch.stack(expected).squeeze(0))
    learned = [method.loss_parameters(CLASSES, 8, drawn) for _ in range(number)]
    for name, value in found.learned.items():
        assert torch.equal(value, torch.stack([each[name] for each in learned]).squeeze(0))


@pytest.mark.parametrize("selection", ["none", "prism", "agreement"])
@pytest.mark.parametrize("form", FORMS)
def test_a_head_begins_at_the_form_by_the_rows_that_the_selection_weighs(
    form: str, selection: str
) -> None:
    rows, labels = clouds()
    found = begun(settings(form, selection=selection, dim=5))
    statistics = statistics_of(rows, labels, found.state, CLASSES)
    expected = head_of(statistics, Settings(loss=form, dim=5), rows.device)
    assert expected["weight"].shape == found.head["weight"].shape
    torch.testing.assert_close(cosines(found.head, rows), cosines(expected, rows))


@pytest.mark.parametrize("start", ["pca", *FORMS])
@pytest.mark.parametrize("dim", [4, 32])
def test_outputs_spread_as_those_of_a_random_head_do(start: str, dim: int) -> None:
    rows = clouds()[0]
    weight = begun(settings(start, dim=dim)).head["weight"]
    found = (rows @ weight).square().sum(dim=1).mean() / rows.square().sum(dim=1).mean()
    assert float(found) == pytest.approx(2, rel=0.01)
    drawn = heads.linear(FEATURES, 4096, torch.Generator().manual_seed(0))["weight"]
    usual = (rows @ drawn).square().sum(dim=1).mean() / rows.square().sum(dim=1).mean()
    assert float(usual) == pytest.approx(2, rel=0.05)


def test_pca_takes_the_directions_of_largest_variance_at_equal_lengths() -> None:
    rows = clouds()[0]
    weight = begun(settings("pca", dim=4)).head["weight"].double().numpy()
    lengths = np.linalg.norm(weight, axis=0)
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-4)
    _, _, directions = np.linalg.svd(rows.double().numpy(), full_matrices=False)
    np.testing.assert_allclose(abs(directions[:4] @ weight / lengths), np.eye(4), atol=1e-3)


def test_directions_that_a_form_has_not_begin_small_but_not_at_nothing() -> None:
    weight = begun(settings("discriminant", dim=16)).head["weight"]
    drawn = heads.linear(FEATURES, 16, generator(0, "start"))["weight"]
    torch.testing.assert_close(weight[:, CLASSES - 1 :], 0.01 * drawn[:, CLASSES - 1 :])


def test_proxies_begin_at_the_weighted_means_of_their_classes() -> None:
    rows, labels = clouds()
    found = begun(settings(selection="prism"))
    assert set(found.state.weights.tolist()) == {0.0, 1.0}
    embedded = heads.embed(found.head, rows).double().numpy()
    for number in range(CLASSES):
        total = np.zeros(8)
        for row in range(ROWS):
            if labels[row] == number:
                total += float(found.state.weights[row]) * embedded[row]
        ours = found.learned["proxies"][number].numpy()
        np.testing.assert_allclose(ours, total / np.linalg.norm(total), atol=1e-4)


def test_a_class_without_weight_begins_at_its_rows_and_one_without_rows_where_it_was_drawn() -> (
    None
):
    rows, labels = clouds()
    labels = torch.where(labels == 3, 2, labels)
    of = settings(selection="none")
    learner = begin(rows, task(of, labels))
    assert start_of(of) is not None
    weights = torch.where(labels == 2, 0.0, 1.0)
    learner.learned = begin(rows, task(settings("random"), labels)).learned
    learner.state = learner.state._replace(weights=weights)
    head, learned = start_of(of)(rows, learner)  # type: ignore[misc]
    mean = heads.embed(head, rows)[labels == 2].mean(dim=0)
    torch.testing.assert_close(learned["proxies"][2], functional.normalize(mean, dim=0))
    assert torch.equal(learned["proxies"][3], learner.learned["proxies"][3])


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_with_vectors_for_classes_begins_them_at_the_means(loss: str) -> None:
    rows, labels = clouds()
    found, drawn = (
        begun(settings(start, loss=loss, selection="none")) for start in ("reliability", "random")
    )
    means = torch.stack(
        [heads.embed(found.head, rows)[labels == c].mean(0) for c in range(CLASSES)]
    )
    assert found.learned.keys() == drawn.learned.keys()
    for name, value in found.learned.items():
        assert value.shape == drawn.learned[name].shape
        if value.ndim == 1:  # boundaries and biases
            assert torch.equal(value, drawn.learned[name])
            continue
        assert value.shape[::2] == (CLASSES, 8) if value.ndim == 3 else value.shape == (CLASSES, 8)
        every = value.view(CLASSES, -1, 8)
        torch.testing.assert_close(every.norm(dim=2), torch.ones(every.shape[:2]))
        likeness = functional.cosine_similarity(every, means[:, None], dim=2)
        assert float(likeness.min()) > 0.99


def test_several_centres_of_a_class_begin_apart() -> None:
    centres = begun(settings(loss="soft-triple")).learned["centres"]
    assert len(torch.unique(centres.flatten(0, 1), dim=0)) == centres.shape[0] * centres.shape[1]


def test_two_heads_both_begin_at_the_form_but_not_alike() -> None:
    rows, found = clouds()[0], begun(settings(loss="co-teaching"))
    first, second = ({name: value[k] for name, value in found.head.items()} for k in (0, 1))
    assert not torch.equal(first["weight"], second["weight"])
    one = begun(settings(loss="softmax"))
    torch.testing.assert_close(first["weight"], one.head["weight"])
    likeness = (heads.embed(first, rows) * heads.embed(second, rows)).sum(dim=1)
    assert float(likeness.min()) > 0.9
    assert not torch.equal(*found.learned["weight"])


def trained(each: list[Settings], **more: Any) -> list[Fit]:
    """Train runs of these settings, each on labels of its own."""
    rows, found = clouds()[0], [clouds(seed)[1] for seed in range(len(each))]
    tasks = [task(of, labels) for of, labels in zip(each, found, strict=True)]
    return fit(rows, tasks, **more)  # type: ignore[return-value]


METHODS = ["proxy-anchor", "prism", "soft-triple", "co-teaching"]


@pytest.mark.parametrize("loss", METHODS)
def test_a_run_goes_on_from_a_snapshot_as_if_it_had_never_been_stopped(loss: str) -> None:
    of = [settings(start, loss=loss, epochs=4) for start in ("reliability", "pca")]
    kept: dict[str, Tensor] = {}

    def observe(runs: Runs) -> None:
        if runs[0].epochs_done == 2:
            kept.update(snapshot(runs))

    whole = trained(of, observe=observe)
    again = trained(of, snapshot=kept)
    torch.testing.assert_close(again, whole, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("loss", METHODS)
@pytest.mark.parametrize("way", ["alone", "together"])
def test_runs_of_several_starts_train_together_as_one_after_the_other(loss: str, way: Any) -> None:
    of = [settings(start, loss=loss, seed=7) for start in ("random", "pca", "reliability")]
    together = trained(of, way=way)
    for number, each in enumerate(of):
        rows, labels = clouds()[0], clouds(number)[1]
        (alone,) = fit(rows, [task(each, labels)], way="alone")
        tolerance = 0.0 if way == "alone" else 1e-4  # the order of additions may differ
        torch.testing.assert_close(
            together[number], alone, rtol=tolerance, atol=tolerance, equal_nan=True
        )
