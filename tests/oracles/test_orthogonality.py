"""Soft orthogonality of proxies: its value, its floor, its gradient, and where proxies start."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.choices import recipes
from pipeline.losses import (
    _proxies,
    normalized_softmax,
    proxy_anchor,
    proxy_nca,
    proxy_nca_pp,
    smooth_proxy_anchor,
)

from . import baselines_proxies as oracle
from .examples import random_batch
from .test_baselines_proxies import draw, parameters_of

SINGLE_PROXY = (normalized_softmax, proxy_anchor, proxy_nca, proxy_nca_pp, smooth_proxy_anchor)
near = pytest.approx


def drawn(classes: int, dim: int, start: str) -> Tensor:
    source = torch.Generator().manual_seed(0)
    return proxy_anchor.parameters(classes, dim, source, start=start)["proxies"]


@pytest.mark.parametrize(("classes", "dim"), [(4, 3), (7, 32), (50, 8), (400, 16)])
def test_cheap_orthogonality_is_the_explicit_matrix(classes, dim):
    proxies = draw(0, classes, dim)
    expected = oracle.squared_cosines(np.asarray(proxies)) / (classes * (classes - 1))
    assert _proxies.orthogonality(proxies).item() == near(expected, abs=1e-9)
    assert _proxies.orthogonality(proxies.float()).item() == near(expected, abs=1e-6)


def test_orthogonality_is_zero_for_orthogonal_proxies_of_any_length():
    rows = torch.linalg.qr(draw(1, 12, 12)).Q[:5] * torch.arange(1, 6)[:, None]
    assert _proxies.orthogonality(rows).item() == near(0, abs=1e-12)
    assert _proxies.orthogonality(rows.float()).item() == near(0, abs=1e-6)


@pytest.mark.parametrize(("classes", "dim"), [(9, 3), (100, 10), (300, 64)])
def test_orthogonality_has_a_floor_where_there_are_more_classes_than_dimensions(classes, dim):
    """R >= C^2 / D - C; reached by C / D copies of an orthonormal basis (a tight frame)."""
    count = classes * (classes - 1)
    floor = classes**2 / dim - classes
    assert _proxies.orthogonality(draw(2, classes, dim)).item() * count >= floor
    if classes % dim == 0:
        frame = torch.eye(dim, dtype=torch.float64).repeat(classes // dim, 1)
        assert _proxies.orthogonality(frame).item() * count == near(floor, abs=1e-9)


def test_orthogonality_does_not_pull_at_the_length_of_proxies():
    proxies = draw(3, 6, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(_proxies.orthogonality(proxies), proxies)
    assert gradient.abs().sum() > 1e-4
    torch.testing.assert_close((gradient * proxies).sum(dim=1), torch.zeros(6).double())


@pytest.mark.parametrize("module", SINGLE_PROXY)
def test_orthogonality_is_added_times_its_strength_and_0_adds_nothing(module):
    batch, parameters = random_batch(0), parameters_of(module)
    plain = module.loss(parameters, batch)
    assert torch.equal(module.loss(parameters, batch, orthogonality=0.0), plain)
    more = module.loss(parameters, batch, orthogonality=2.5)
    expected = plain + 2.5 * _proxies.orthogonality(parameters["proxies"])
    assert more.item() == near(expected.item(), abs=1e-12)


@pytest.mark.parametrize("module", SINGLE_PROXY)
def test_orthogonality_takes_no_step_where_no_row_counts(module):
    batch = random_batch(0)._replace(weights=torch.zeros(14, dtype=torch.float64))
    assert module.loss(parameters_of(module), batch, orthogonality=1.0).item() == 0


def test_float32_is_exact_enough_at_the_size_of_stanford_online_products():
    """C = 11,318, D = 512: R = 250,200 is the difference of 261,500 and C. Its relative error in
    float32 is 4e-8 (measured); the mean is 0.001954, its floor 0.001865."""
    proxies = torch.randn(11_318, 512, generator=torch.Generator().manual_seed(0))
    exact = _proxies.orthogonality(proxies.double()).item()
    assert exact == near(1 / 512, rel=1e-3)
    assert _proxies.orthogonality(proxies).item() == near(exact, rel=3e-7)


def test_the_recipe_soft_orthogonal_is_proxy_anchor_with_strength_1_from_orthogonal_proxies():
    recipe = recipes.recipe("soft-orthogonal")
    options = {"loss.orthogonality": 1.0, "loss.start": "orthogonal"}
    assert (recipe.loss, recipe.options) == ("proxy-anchor", options)


@pytest.mark.parametrize("module", SINGLE_PROXY)
@pytest.mark.parametrize(("classes", "dim"), [(2, 2), (5, 8), (40, 64)])
def test_proxies_can_start_orthogonal_where_there_is_room(module, classes, dim):
    source = torch.Generator().manual_seed(1)
    table = module.parameters(classes, dim, source, start="orthogonal")["proxies"]
    torch.testing.assert_close(table @ table.T, torch.eye(classes), rtol=0, atol=1e-6)
    assert table.is_contiguous()


def test_an_orthogonal_start_prefers_no_direction():
    """Over 200 draws of 3 proxies in 4 dimensions the mean of every coordinate is near 0."""
    tables = torch.stack(
        [
            _proxies.draw_proxies(3, 4, torch.Generator().manual_seed(seed), "orthogonal")
            for seed in range(200)
        ]
    )
    assert tables.mean(dim=0).abs().max() < 4 * 0.5 / 200**0.5


def test_proxies_start_at_random_where_there_is_no_room_and_by_default():
    assert torch.equal(drawn(9, 4, "orthogonal"), drawn(9, 4, "random"))
    source = torch.Generator().manual_seed(0)
    assert torch.equal(proxy_anchor.parameters(9, 4, source)["proxies"], drawn(9, 4, "random"))


def test_the_start_of_the_published_code_has_its_standard_deviation():
    """Kaiming by fan-out: std sqrt(2 / C), norms near sqrt(2 D / C) = 3.2 at C = 100, D = 512."""
    table = drawn(100, 512, "kaiming")
    assert table.std().item() == near((2 / 100) ** 0.5, rel=0.01)
    assert table.norm(dim=1).mean().item() == near(3.2, rel=0.01)


def test_the_facts_hold_the_mean_squared_cosine_and_its_floor():
    """Three copies of a basis of 3: the floor (9 - 3) / (3 * 8) is reached. C <= D: it is 0."""
    frame = {"proxies": torch.eye(3).repeat(3, 1)}
    found = proxy_anchor.facts(frame, random_batch(0), orthogonality=1.0)
    assert found["proxy_squared_cosine"].item() == near(0.25)
    assert found["proxy_squared_cosine_floor"].item() == near(0.25)
    basis = {"proxies": torch.eye(3)}
    found = proxy_anchor.facts(basis, random_batch(0), orthogonality=1.0)
    assert [value.item() for value in found.values()] == near([0, 0], abs=1e-6)
    assert proxy_anchor.facts(basis, random_batch(0)) == {}
