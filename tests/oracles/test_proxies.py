"""Proxy losses against plain loops and against arithmetic by hand."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch

from pipeline.losses import _proxies, proxy_anchor

from . import proxies
from .examples import at_angles, batch_at, random_batch

SEEDS = range(4)
WEIGHTS = ("ones", "binary", "fractional")
near = pytest.approx
COS_30 = 3**0.5 / 2


def random_proxies(seed: int, num_classes: int = 4, dim: int = 3) -> dict[str, torch.Tensor]:
    """Proxies of several norms: only their direction counts."""
    generator = torch.Generator().manual_seed(100 + seed)
    return {"proxies": 3 * torch.randn(num_classes, dim, dtype=torch.float64, generator=generator)}


def test_proxy_anchor_of_three_rows_by_hand():
    """Rows at 0, 60, 90 degrees of class 0, 0, 1; proxies at 0, 90, 180; scale 1, margin 0.

    Cosines to proxy 0: 1, 0.5, 0; to proxy 1: 0, 0.866, 1; to proxy 2: -1, -0.5, 0.
    Attraction: log(1 + e^-1 + e^-0.5) for class 0, log(1 + e^-1) for class 1, by |P+| = 2.
    Repulsion: log(1 + e^0), log(1 + e^0 + e^0.866), log(1 + e^-1 + e^-0.5 + e^0), by C = 3.
    """
    parameters = {"proxies": 5 * at_angles([0, 90, 180])}
    value = proxy_anchor.loss(parameters, batch_at([0, 60, 90], [0, 0, 1]), scale=1.0, margin=0.0)
    attraction = log(1 + exp(-1) + exp(-0.5)) + log(1 + exp(-1))
    repulsion = log(2) + log(2 + exp(COS_30)) + log(2 + exp(-1) + exp(-0.5))
    assert value.item() == near(attraction / 2 + repulsion / 3, abs=1e-12)


def test_the_weight_stands_inside_the_logarithm_by_hand():
    """One row of weight 0.5 on proxy 0, proxy 1 at 90 degrees; scale 2, margin 0.1:
    log(1 + 0.5 e^(-2 * 0.9)) / 1 + log(1 + 0.5 e^(2 * 0.1)) / 2."""
    batch = batch_at([0], [0])._replace(weights=torch.tensor([0.5], dtype=torch.float64))
    value = proxy_anchor.loss({"proxies": at_angles([0, 90])}, batch, scale=2.0, margin=0.1)
    expected = log(1 + 0.5 * exp(-1.8)) + log(1 + 0.5 * exp(0.2)) / 2
    assert value.item() == near(expected, abs=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("scale", "margin"), [(32.0, 0.1), (4.0, 0.3)])
def test_proxy_anchor_equals_the_loops(seed, weights, scale, margin):
    batch, parameters = random_batch(seed, weights=weights), random_proxies(seed)
    value = proxy_anchor.loss(parameters, batch, scale=scale, margin=margin)
    expected = proxies.proxy_anchor(
        np.asarray(batch.embeddings),
        np.asarray(batch.labels),
        np.asarray(batch.weights),
        np.asarray(parameters["proxies"]),
        scale,
        margin,
    )
    assert value.item() == near(expected, abs=1e-10)


def test_a_weight_inside_the_logarithm_moves_the_margin():
    """w exp(-scale (s - margin)) = exp(-scale (s - m)) with m = margin + ln(w) / scale."""
    similarity = at_angles([0, 40, 100]) @ at_angles([10, 70]).T
    ones, zeros = torch.ones_like(similarity), torch.zeros_like(similarity)
    weighted = _proxies.proxy_anchor(similarity, 0.3 * ones, zeros, scale=32.0, margin=0.1)
    moved = _proxies.proxy_anchor(similarity, ones, zeros, scale=32.0, margin=0.1 + log(0.3) / 32)
    assert weighted.item() == near(moved.item(), abs=1e-12)


def test_a_class_absent_from_the_batch_is_pushed_but_not_pulled():
    """Two rows at 0 and 90 degrees; the proxy of the absent class stands at 30."""
    batch = batch_at([0, 90], [0, 1])
    table = at_angles([10, 80, 30]).requires_grad_()
    similarity = _proxies.cosines(batch.embeddings, table)
    is_member = _proxies.membership(batch.labels, 3).double()
    nobody = torch.zeros_like(is_member)
    pull = _proxies.proxy_anchor(similarity, is_member, nobody, scale=32.0, margin=0.1)
    push = _proxies.proxy_anchor(similarity, nobody, 1 - is_member, scale=32.0, margin=0.1)
    assert torch.autograd.grad(pull, table, retain_graph=True)[0][2].abs().sum() == 0
    assert torch.autograd.grad(push, table)[0][2].abs().sum() > 0.1


def test_only_the_direction_of_a_proxy_counts_and_new_proxies_have_unit_norm():
    batch, parameters = random_batch(1), random_proxies(1)
    longer = {"proxies": 9 * parameters["proxies"]}
    value, same = proxy_anchor.loss(parameters, batch), proxy_anchor.loss(longer, batch)
    assert value.item() == near(same.item(), abs=1e-10)
    drawn = proxy_anchor.parameters(5, 8, torch.Generator().manual_seed(0))["proxies"]
    assert drawn.shape == (5, 8)
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(5))
