"""Closed forms against plain sums and SciPy, by the cosines between embedded rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from pipeline.choices.settings import Settings
from pipeline.closed_forms._statistics import Member, Statistics, gather
from pipeline.program.heads import embed
from pipeline.training.closed_form import head_of

from . import closed_forms as oracle

CPU = torch.device("cpu")
OPTIONS: dict[str, list[dict[str, float]]] = {
    "whiten": [{"shrinkage": 0.0}, {"shrinkage": 0.3}, {"shrinkage": 1.0}],
    "within-class-whiten": [{"shrinkage": 0.01}, {"shrinkage": 0.4}],
    "reliability": [{"shrinkage": 0.2, "strength": 3.0}, {"shrinkage": 0.05, "strength": 0.3}],
    "discriminant": [{"shrinkage": 0.2, "damping": 0.0}, {"shrinkage": 0.5, "damping": 0.1}],
    "metric": [{"shrinkage": 0.4, "strength": 0.1}, {"shrinkage": 0.1, "strength": 10.0}],
}
CASES = [(name, options) for name, each in OPTIONS.items() for options in each]
every_case = pytest.mark.parametrize(("name", "options"), CASES)


def clouds(
    count: int = 90, width: int = 12, num_classes: int = 6, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Centred rows of uneven directions, labels of which class 4 has none, and weights."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (count,), generator=source)
    labels = torch.where(labels == 4, 0, labels)
    centres = torch.randn(num_classes, width, generator=source)
    spread = torch.linspace(0.3, 3, width)
    rows = centres[labels] + spread * torch.randn(count, width, generator=source)
    weights = torch.rand(count, generator=source) * (torch.rand(count, generator=source) > 0.2)
    return rows - rows.mean(dim=0), labels, weights


def parts_of(*members: Member) -> list[oracle.Part]:
    return [
        (row, int(label), float(weight))
        for labels, weights in members
        for row, (label, weight) in enumerate(zip(labels, weights, strict=True))
    ]


def embedded(name: str, statistics: Statistics, rows: Tensor, dim: int, **options: Any) -> Tensor:
    given = {f"loss.{key}": value for key, value in options.items()}
    return embed(head_of(statistics, Settings(loss=name, dim=dim, options=given), CPU), rows)


def assert_like(
    name: str, rows: Tensor, members: list[Member], num_classes: int, dim: int, **options: float
) -> None:
    found = embedded(name, gather(rows, members, num_classes), rows, dim, **options)
    plain = rows.double().numpy()
    weight = oracle.FORMS[name](oracle.moments(plain, parts_of(*members)), dim, **options)
    expected = oracle.cosines(plain @ weight)
    assert found.shape[1] == weight.shape[1]
    np.testing.assert_allclose((found @ found.T).numpy(), expected, atol=3e-4)


def test_the_moments_are_those_of_plain_sums() -> None:
    rows, labels, weights = clouds()
    rows = rows + 0.1  # nearly centred
    second = Member(labels.roll(1), 0.3 * weights.roll(7))
    found = gather(rows, [Member(labels, weights), second], 6)
    parts = parts_of(Member(labels, weights), second)
    expected = oracle.moments(rows.double().numpy(), parts)
    for name in ("total", "within", "means"):
        ours = getattr(found, name).numpy()
        np.testing.assert_allclose(ours, getattr(expected, name), atol=2e-5, err_msg=name)


@every_case
def test_it_is_the_formula(name: str, options: dict[str, float]) -> None:
    rows, labels, weights = clouds()
    assert_like(name, rows, [Member(labels, torch.ones_like(weights))], 6, 512, **options)
    assert_like(name, rows, [Member(labels, weights)], 6, 512, **options)


@every_case
def test_a_row_may_belong_to_two_classes(name: str, options: dict[str, float]) -> None:
    rows, labels, weights = clouds(seed=1)
    members = [Member(labels, weights), Member((labels + 1) % 6, 1 - weights)]
    assert_like(name, rows, members, 6, 512, **options)


@every_case
@pytest.mark.parametrize("dim", [1, 3, 7])
def test_fewer_directions_are_the_first_ones(
    name: str, options: dict[str, float], dim: int
) -> None:
    """With dim below and above the C' - 1 = 4 directions in which class means can differ."""
    rows, labels, weights = clouds(seed=2)
    assert_like(name, rows, [Member(labels, weights)], 6, dim, **options)


@every_case
def test_more_classes_than_features(name: str, options: dict[str, float]) -> None:
    rows, labels, weights = clouds(160, 8, 30, seed=3)
    assert_like(name, rows, [Member(labels, weights)], 30, 512, **options)


def test_the_discriminant_spans_what_scikit_learn_finds() -> None:
    """Classes of one size and no damping. scikit-learn's solver "eigen" shrinks each class's
    covariance towards its own trace, and its S_b is T - W of the shrunk ones; without shrinkage,
    and with classes of one size, both are the same directions in the same order. Its columns have
    v' W v = 1 as ours have. With shrinkage conventions differ and nothing is compared.
    """
    source = torch.Generator().manual_seed(4)
    labels = torch.arange(120) % 5
    rows = torch.randn(5, 10, generator=source)[labels] + torch.randn(120, 10, generator=source)
    rows = rows - rows.mean(dim=0)
    statistics = gather(rows, [Member(labels, torch.ones(120))], 5)
    found = embedded("discriminant", statistics, rows, 512, shrinkage=0.0, damping=0.0)
    theirs = LinearDiscriminantAnalysis(solver="eigen").fit(rows.double().numpy(), labels.numpy())
    projected = rows.double().numpy() @ theirs.scalings_[:, :4]
    np.testing.assert_allclose((found @ found.T).numpy(), oracle.cosines(projected), atol=1e-3)


def test_two_classes_on_a_plane_by_hand() -> None:
    """Means (1, 0) and (-1, 0); within, 0.25 along the first axis and 4 along the second.

    T = diag(1.25, 4), W = diag(0.25, 4): ratios 5 and 1. Reliability with strength 4 keeps
    sqrt(4 / 8) of the first axis (over its deviation 0.5) and nothing of the second; the
    discriminant has the first axis alone.
    """
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    offsets = signs * torch.tensor([0.5, 2.0])
    rows = torch.cat([offsets + torch.tensor([1.0, 0.0]), offsets - torch.tensor([1.0, 0.0])])
    labels = torch.arange(8) // 4
    statistics = gather(rows, [Member(labels, torch.ones(8))], 2)
    assert statistics.total.tolist() == [[1.25, 0.0], [0.0, 4.0]]
    assert statistics.within.tolist() == [[0.25, 0.0], [0.0, 4.0]]
    for name, options in (("reliability", {"strength": 4.0}), ("discriminant", {})):
        found = embedded(name, statistics, rows, 512, shrinkage=0.0, **options)
        assert found[:, 0].tolist() == pytest.approx([1.0] * 4 + [-1.0] * 4, abs=1e-3)
