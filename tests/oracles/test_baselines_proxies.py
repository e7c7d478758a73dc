"""Softmax losses over proxies against plain loops, arithmetic by hand and each other."""

from __future__ import annotations

from math import exp, log, sqrt
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.losses import (
    normalized_softmax,
    proxy_nca,
    proxy_nca_pp,
    soft_triple,
)
from pipeline.program.batch import Batch

from . import baselines_proxies as oracle
from .examples import at_angles, batch_at, random_batch

SEEDS = range(4)
WEIGHTS = ("ones", "binary", "fractional")
SOFTMAX = (normalized_softmax, proxy_nca, proxy_nca_pp, soft_triple)
near = pytest.approx


def draw(seed: int, *shape: int) -> Tensor:
    """Vectors of several norms: only their direction counts."""
    generator = torch.Generator().manual_seed(200 + seed)
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=generator)


def arrays(batch: Batch, vectors: Tensor) -> tuple[np.ndarray, ...]:
    given = (batch.embeddings, batch.labels, batch.weights, vectors)
    return tuple(np.asarray(each) for each in given)


def parameters_of(module: ModuleType, seed: int = 0, classes: int = 4, dim: int = 3) -> dict:
    if module is soft_triple:
        return {"centres": draw(seed, classes, 5, dim)}
    return {"proxies": draw(seed, classes, dim)}


def test_normalised_softmax_by_hand():
    """Row at 0 of class 0, proxies at 0, 60, 90, temperature 0.5: logits 2, 1, 0."""
    parameters = {"proxies": 4 * at_angles([0, 60, 90])}
    value = normalized_softmax.loss(parameters, batch_at([0], [0]), temperature=0.5)
    assert value.item() == near(log(1 + exp(-1) + exp(-2)), abs=1e-12)


def test_proxy_nca_by_hand_in_the_practice_form_and_not_in_the_paper_form():
    """Row at 0 of class 0, proxies at 0, 60, 90: squared distances 0, 1, 2. With the positive in
    the denominator log(1 + e^-1 + e^-2); the paper's form without it would be negative."""
    parameters = {"proxies": 4 * at_angles([0, 60, 90])}
    value = proxy_nca.loss(parameters, batch_at([0], [0]), scale=1.0)
    assert value.item() == near(log(1 + exp(-1) + exp(-2)), abs=1e-12)
    assert log(exp(-1) + exp(-2)) < 0 < value.item()


def test_soft_triple_by_hand():
    """Row at 0 of class 0; centres at 0, 90 and at 60, 60; scale 2, gamma 1, margin 0.1, tau 1.

    S_0 = e / (e + 1), S_1 = 0.5. Distances within the classes: sqrt 2 and 0 (each + 1e-5 inside);
    R = their sum / (2 * 2 * 1)."""
    parameters = {"centres": at_angles([0, 90, 60, 60]).view(2, 2, 2)}
    batch = batch_at([0], [0])
    value = soft_triple.loss(parameters, batch, scale=2.0, gamma=1.0, margin=0.1, tau=1.0)
    own = exp(1) / (exp(1) + 1) - 0.1
    regulariser = (sqrt(2 + 1e-5) + sqrt(1e-5)) / 4
    assert value.item() == near(log(1 + exp(2 * (0.5 - own))) + regulariser, abs=1e-9)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_softmax_loss_equals_the_loops(seed, weights):
    batch, proxies = random_batch(seed, weights=weights), draw(seed, 4, 3)
    given = arrays(batch, proxies)
    named = {"proxies": proxies}
    value = normalized_softmax.loss(named, batch, temperature=0.07)
    assert value.item() == near(oracle.normalized_softmax(*given, 0.07), abs=1e-10)
    value = proxy_nca.loss(named, batch, scale=5.0)
    assert value.item() == near(oracle.proxy_nca(*given, 5.0), abs=1e-10)
    value = proxy_nca_pp.loss(named, batch)
    assert value.item() == near(oracle.proxy_nca(*given, 9.0), abs=1e-10)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("num_centres", [1, 2, 5])
def test_soft_triple_equals_the_loops(seed, weights, num_centres):
    batch, centres = random_batch(seed, weights=weights), draw(seed, 4, num_centres, 3)
    options = {"scale": 11.0, "gamma": 0.3, "margin": 0.2, "tau": 0.7}
    value = soft_triple.loss({"centres": centres}, batch, **options)
    expected = oracle.soft_triple(*arrays(batch, centres), *options.values())
    assert value.item() == near(expected, abs=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
def test_nine_squared_distances_are_eighteen_cosines(seed):
    """-9 D^2 = 18 cos - 18: one loss and one gradient."""
    batch, proxies = random_batch(seed), draw(seed, 4, 3).requires_grad_()
    by_distance = proxy_nca_pp.loss({"proxies": proxies}, batch)
    by_cosine = normalized_softmax.loss({"proxies": proxies}, batch, temperature=1 / 18)
    torch.testing.assert_close(by_distance, by_cosine)
    torch.testing.assert_close(
        torch.autograd.grad(by_distance, proxies), torch.autograd.grad(by_cosine, proxies)
    )


@pytest.mark.parametrize("scale", [1.0, 3.0, 10.0])
def test_proxy_nca_is_normalised_softmax_where_2_scale_is_1_by_temperature(scale):
    batch, parameters = random_batch(0, weights="fractional"), {"proxies": draw(0, 4, 3)}
    value = proxy_nca.loss(parameters, batch, scale=scale)
    same = normalized_softmax.loss(parameters, batch, temperature=1 / (2 * scale))
    assert value.item() == near(same.item(), abs=1e-12)


@pytest.mark.parametrize("gamma", [0.01, 1.0])
def test_soft_triple_with_one_centre_is_a_margin_softmax(gamma):
    """CE(20 (cos - 0.1 [own])) for any gamma; there is no pair of centres to draw together."""
    batch, centres = random_batch(1), draw(1, 4, 1, 3)
    value = soft_triple.loss({"centres": centres}, batch, gamma=gamma, margin=0.1, tau=0.2)
    logits = batch.embeddings @ functional.normalize(centres[:, 0], dim=1).T
    own = functional.one_hot(batch.labels, 4).double()
    expected = functional.cross_entropy(20 * (logits - 0.1 * own), batch.labels)
    assert value.item() == near(expected.item(), abs=1e-12)


def test_the_class_by_class_regulariser_is_that_of_the_masked_full_matrix():
    centres = functional.normalize(draw(2, 6, 4, 3), dim=2)
    flat = centres.flatten(0, 1)
    of_class = torch.arange(6).repeat_interleave(4)
    is_pair = (of_class[:, None] == of_class).triu(diagonal=1)
    expected = (2 + 1e-5 - 2 * (flat @ flat.T)[is_pair]).sqrt().sum() / (6 * 4 * 3)
    everything = torch.ones(6, 4, dtype=torch.bool)
    found = soft_triple.centre_distance(centres, everything)
    assert found.item() == near(expected.item(), abs=1e-12)


def test_soft_triple_has_ten_centres_for_few_classes_and_two_for_many():
    generator = torch.Generator().manual_seed(0)
    assert soft_triple.parameters(499, 4, generator)["centres"].shape == (499, 10, 4)
    assert soft_triple.parameters(500, 4, generator)["centres"].shape == (500, 2, 4)
    drawn = soft_triple.parameters(3, 4, generator, centres=1)["centres"]
    assert drawn.shape == (3, 1, 4)
    torch.testing.assert_close(drawn.norm(dim=2), torch.ones(3, 1))


def test_a_class_uses_fewer_centres_than_it_has_rows_by_itself():
    """Classes of 4, 2, 1 and 0 rows and 3 centres: 3, 1, 1 and 1; a number is what it says."""
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    given = (torch.ones(7, 2), labels, torch.zeros(7), 4, torch.Generator())
    assert soft_triple.survey(*given)["num_centres"].tolist() == [3, 1, 1, 1]
    assert soft_triple.survey(*given, centres=2)["num_centres"].tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_centres_beyond_a_classes_number_do_not_exist(weights):
    """The loops see the classes' own lists of centres, of unequal length."""
    batch, centres = random_batch(0, weights=weights), draw(0, 4, 5, 3)
    count = [5, 1, 3, 2]
    batch = batch._replace(survey={"num_centres": torch.tensor(count)})
    leaves = centres.clone().requires_grad_()
    options = {"scale": 11.0, "gamma": 0.3, "margin": 0.2, "tau": 0.7}
    value = soft_triple.loss({"centres": leaves}, batch, **options)
    rows, labels, of_rows, table = arrays(batch, centres)
    uneven = [own[:number] for own, number in zip(table, count, strict=True)]
    expected = oracle.soft_triple(rows, labels, of_rows, uneven, *options.values())
    assert value.item() == near(expected, abs=1e-10)
    (gradient,) = torch.autograd.grad(value, leaves)
    is_used = torch.arange(5) < torch.tensor(count)[:, None]
    assert not gradient[~is_used].any()
    assert gradient[is_used].abs().sum(dim=1).all()
    assert soft_triple.facts({"centres": leaves}, batch)["centres_per_class"] == 11 / 4


@pytest.mark.parametrize("module", SOFTMAX)
def test_only_the_direction_of_proxies_counts(module):
    batch, parameters = random_batch(3), parameters_of(module)
    longer = {name: 7 * tensor for name, tensor in parameters.items()}
    value, same = module.loss(parameters, batch), module.loss(longer, batch)
    assert value.item() == near(same.item(), abs=1e-10)


@pytest.mark.parametrize(
    ("module", "options", "expected"),
    [
        (normalized_softmax, {"temperature": 1 / 256}, 512),
        (proxy_nca, {"scale": 128.0}, 512),
        (proxy_nca_pp, {"temperature": 1 / 128}, 512),
        (soft_triple, {"scale": 256.0, "margin": 0.0, "tau": 0.0}, 512),
    ],
)
def test_a_confidently_wrong_row_costs_its_gap_and_keeps_its_gradient(module, options, expected):
    """A row at 0 on the other class's proxy, its own at 180: the loss is twice the logit scale. A
    softmax of float32 would be exactly 0 here, and its logarithm would lose the row."""
    table = at_angles([180, 0]).float()
    table = table[:, None] if module is soft_triple else table
    name = "centres" if module is soft_triple else "proxies"
    batch = batch_at([10], [0])
    rows = batch.embeddings.float().requires_grad_()
    batch = batch._replace(embeddings=rows, weights=batch.weights.float())
    value = module.loss({name: table}, batch, **options)
    value.backward()
    assert value.item() == near(expected * np.cos(np.deg2rad(10)), rel=1e-5)
    assert rows.grad.isfinite().all()
    assert rows.grad.norm() > 100


@pytest.mark.parametrize("module", SOFTMAX)
def test_without_a_row_that_counts_the_loss_is_0_the_regulariser_included(module):
    batch = random_batch(0)._replace(weights=torch.zeros(14, dtype=torch.float64))
    assert module.loss(parameters_of(module), batch).item() == 0


@pytest.mark.parametrize("module", SOFTMAX)
def test_half_the_weight_on_all_rows_changes_nothing(module):
    batch, parameters = random_batch(0), parameters_of(module)
    half = batch._replace(weights=batch.weights / 2)
    value, same = module.loss(parameters, batch), module.loss(parameters, half)
    assert value.item() == near(same.item(), abs=1e-12)
