"""Smooth Proxy-Anchor in all its forms against plain loops and against arithmetic by hand."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cache.errors import InputError
from pipeline.losses import proxy_anchor, smooth_proxy_anchor
from pipeline.program.batch import Batch

from . import proxies
from .examples import at_angles, batch_at, random_batch
from .test_proxies import SEEDS, WEIGHTS, random_proxies

near = pytest.approx
FORMS = [
    {},
    {"weighting": "none"},
    {"weighting": "exponent"},
    {"weighting": "exponent", "negative_weight": "one"},
    {"negative_weight": "one"},
    {"positives": "argmax"},
    {"positives": "given-and-threshold"},
    {"unassigned": "negative"},
    {"unassigned": "fallback-argmax"},
    {"unassigned": "fallback-given"},
    {"positives": "given-and-threshold", "unassigned": "fallback-argmax"},
    {"positives": "argmax", "unassigned": "fallback-given"},
]


def confident(seed: int, weights: str = "ones") -> Batch:
    """Some rows without any class, one with confidence 0 everywhere, one with several classes."""
    batch = random_batch(seed, weights=weights)
    confidences = batch.confidences**2
    confidences[4], confidences[5] = 0, 0.9
    assert (confidences.amax(dim=1) < 0.6).any()
    return batch._replace(confidences=confidences)


def test_smooth_proxy_anchor_by_hand():
    """One row at 0 degrees with confidences 0.9, 0.2; proxies at 0 and 90; scale 1, margin 0,
    position 0.5, sharpness 10: phi(0.9) = 1 / (1 + e^-4), phi(0.2) = 1 / (1 + e^3).

    Member of class 0 only: log(1 + phi(0.9) e^-1) / 1 + log(1 + (1 - phi(0.2)) e^0) / 2.
    """
    confidences = torch.tensor([[0.9, 0.2]], dtype=torch.float64)
    batch = batch_at([0], [1])._replace(confidences=confidences)
    parameters = {"proxies": at_angles([0, 90])}
    value = smooth_proxy_anchor.loss(parameters, batch, scale=1.0, margin=0.0)
    pull, push = 1 / (1 + exp(-4)), 1 - 1 / (1 + exp(3))
    assert value.item() == near(log(1 + pull * exp(-1)) + log(1 + push) / 2, abs=1e-12)


def test_the_weight_in_the_exponent_by_hand():
    """The same row: log(1 + e^(-phi(0.9) (1 - 0))) / 1 + log(1 + e^((1 - phi(0.2)) (0 + 0))) / 2;
    with a margin of 0.1 the exponents are -phi(0.9) 0.9 and (1 - phi(0.2)) 0.1."""
    confidences = torch.tensor([[0.9, 0.2]], dtype=torch.float64)
    batch = batch_at([0], [1])._replace(confidences=confidences)
    parameters = {"proxies": at_angles([0, 90])}
    value = smooth_proxy_anchor.loss(parameters, batch, scale=1.0, margin=0.1, weighting="exponent")
    pull, push = 1 / (1 + exp(-4)), 1 - 1 / (1 + exp(3))
    expected = log(1 + exp(-0.9 * pull)) + log(1 + exp(0.1 * push)) / 2
    assert value.item() == near(expected, abs=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(form.values()) or "default")
def test_smooth_proxy_anchor_equals_the_loops(seed, weights, form):
    batch, parameters = confident(seed, weights), random_proxies(seed)
    value = smooth_proxy_anchor.loss(parameters, batch, position=0.6, sharpness=7.0, **form)
    given = (batch.embeddings, batch.labels, batch.confidences, batch.weights)
    expected = proxies.smooth_proxy_anchor(
        *map(np.asarray, given),
        np.asarray(parameters["proxies"]),
        scale=32,
        margin=0.1,
        position=0.6,
        sharpness=7,
        **form,
    )
    assert value.item() == near(expected, abs=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
def test_smooth_proxy_anchor_of_certain_confidences_is_proxy_anchor(seed):
    """One-hot confidences and an endless sharpness: phi is 1 or 0."""
    batch, parameters = random_batch(seed, weights="fractional"), random_proxies(seed)
    certain = batch._replace(confidences=functional.one_hot(batch.labels, 4).double())
    expected = proxy_anchor.loss(parameters, batch).item()
    for given in (certain, batch._replace(confidences=None)):
        for form in FORMS:
            value = smooth_proxy_anchor.loss(parameters, given, sharpness=1e4, **form)
            assert value.item() == near(expected, abs=1e-10)


def test_one_weight_for_all_members_is_another_margin():
    """w exp(-scale (S - margin)) has the margin delta + ln(w) / scale: w = phi(0.6) on the members,
    and 1 on the others, whose margin stays."""
    batch, parameters = random_batch(2), random_proxies(2)
    confidences = 0.6 * functional.one_hot(batch.labels, 4).double()
    w = 1 / (1 + exp(-10 * (0.6 - 0.5)))
    found = smooth_proxy_anchor.loss(
        parameters, batch._replace(confidences=confidences), negative_weight="one"
    )
    at_margin = [proxy_anchor.loss(parameters, batch, margin=m) for m in (0.1, 0.1 + log(w) / 32)]
    is_member = functional.one_hot(batch.labels, 4).bool()
    similarity = batch.embeddings @ functional.normalize(parameters["proxies"], dim=1).T
    exponents = (32 * (similarity + 0.1)).masked_fill(is_member, -torch.inf)
    repulsion = [
        torch.logaddexp(torch.zeros(()), (exponents + 32 * shift).logsumexp(dim=0)).mean()
        for shift in (0.0, log(w) / 32)
    ]
    expected = at_margin[1] - repulsion[1] + repulsion[0]
    assert found.item() == near(expected.item(), abs=1e-10)
    assert found.item() != near(at_margin[0].item(), abs=1e-3)


def test_an_unassigned_row_gets_no_gradient_unless_something_is_made_of_it():
    batch = random_batch(0)
    confidences = batch.confidences.clone()
    confidences[3] = 0.1
    for unassigned in ("ignore", "negative", "fallback-argmax", "fallback-given"):
        embeddings = batch.embeddings.clone().requires_grad_()
        given = batch._replace(embeddings=embeddings, confidences=confidences)
        smooth_proxy_anchor.loss(random_proxies(0), given, unassigned=unassigned).backward()
        assert (embeddings.grad[3].abs().sum() > 0) == (unassigned != "ignore")


def test_a_row_of_exponent_weight_0_gets_no_gradient_but_stays_in_the_sum():
    """Confidences 1 and 0.9 at an endless sharpness, members by "argmax": phi = 1 for both, so the
    row is a member of class 0 and a negative of class 1 with weight 1 - phi = 0: exp(0)."""
    confidences = torch.tensor([[1.0, 0.9]], dtype=torch.float64)
    batch = batch_at([0], [0])._replace(confidences=confidences)
    table = at_angles([60, 10]).requires_grad_()
    value = smooth_proxy_anchor.loss(
        {"proxies": table},
        batch,
        scale=2.0,
        sharpness=1e4,
        weighting="exponent",
        positives="argmax",
    )
    assert value.item() == near(log(1 + exp(-2 * (0.5 - 0.1))) + log(1 + 1) / 2, abs=1e-12)
    (gradient,) = torch.autograd.grad(value, table)
    assert gradient[0].any()
    assert not gradient[1].any()


def shares(confidences: list[list[float]], **options: object) -> list[float]:
    batch = batch_at([0] * len(confidences), [0] * len(confidences))
    given = batch._replace(confidences=torch.tensor(confidences, dtype=torch.float64))
    found = smooth_proxy_anchor.facts({"proxies": torch.eye(2)}, given, **options)
    assert list(found) == ["rows_of_no_class", "rows_of_one_class", "rows_of_several_classes"]
    return [value.item() for value in found.values()]


def test_the_facts_count_rows_of_no_class_of_one_and_of_several():
    rows = [[0.4, 0.4], [0.6, 0.2], [0.1, 0.7], [0.5, 0.9]]
    assert shares(rows) == [0.25, 0.5, 0.25]
    assert shares(rows, position=0.3) == [0, 0.5, 0.5]
    assert shares(rows, positives="argmax") == [0, 1, 0]
    assert shares(rows, positives="given-and-threshold") == [0.5, 0.5, 0]


def test_training_is_refused_where_more_than_half_of_the_rows_would_be_ignored():
    rows = [[0.4, 0.4], [0.6, 0.2], [0.1, 0.3]]
    with pytest.raises(
        InputError, match=r"67% of the rows have no class .* lower loss.position"
    ) as error:
        shares(rows)
    assert "\n" not in str(error.value)
    for unassigned in ("negative", "fallback-argmax", "fallback-given"):
        assert shares(rows, unassigned=unassigned)[0] == near(2 / 3)


def test_labels_alone_are_always_of_one_class():
    batch = batch_at([0, 10], [0, 1])
    found: dict[str, Tensor] = smooth_proxy_anchor.facts({"proxies": torch.eye(2)}, batch)
    assert [value.item() for value in found.values()] == [0, 1, 0]
