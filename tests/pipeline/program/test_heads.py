"""The embedding head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.program.heads import draw, embed, linear

KINDS = ["linear", "residual", "mlp"]
FEATURES, HIDDEN, DIM = 4, 5, 3


def drawn(kind: str, seed: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """A head of which no part is 0."""
    source = torch.Generator().manual_seed(seed)
    head = draw(kind, FEATURES, DIM, HIDDEN, source, source)
    return {name: torch.randn(v.shape, generator=source, dtype=dtype) for name, v in head.items()}


def rows(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, FEATURES, generator=torch.Generator().manual_seed(5), dtype=dtype)


def naive(head: dict[str, np.ndarray], row: np.ndarray) -> np.ndarray:
    """One row, number by number."""

    def affine(x: list[float], weight: np.ndarray, bias: np.ndarray) -> list[float]:
        return [sum(x[f] * weight[f, d] for f in range(len(x))) + bias[d] for d in range(len(bias))]

    x, last = list(row), (head["weight"], head["bias"])
    if "hidden_weight" not in head:
        values = affine(x, *last)
    else:
        hidden = [max(h, 0.0) for h in affine(x, head["hidden_weight"], head["hidden_bias"])]
        if "residual" in head:
            beside = affine(hidden, head["residual"], np.zeros(DIM))
            values = [a + b for a, b in zip(affine(x, *last), beside, strict=True)]
        else:
            values = affine(hidden, *last)
    return np.array(values) / sum(value**2 for value in values) ** 0.5


def test_a_head_is_drawn_from_its_generator_with_a_deviation_by_fan_out():
    """Kaiming-normal by fan-out: standard deviation sqrt(2 / D)."""
    head = linear(400, 50, torch.Generator().manual_seed(1))
    same = linear(400, 50, torch.Generator().manual_seed(1))
    assert torch.equal(head["weight"], same["weight"])
    assert head["weight"].shape == (400, 50)
    assert abs(head["weight"].std().item() - (2 / 50) ** 0.5) < 0.005
    assert not head["bias"].any()


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_what_the_formula_says_number_by_number(kind):
    head, features = drawn(kind), rows(6)
    plain = {name: value.numpy() for name, value in head.items()}
    expected = np.stack([naive(plain, row) for row in features.numpy()])
    np.testing.assert_allclose(embed(head, features).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind):
    head, features = drawn(kind), rows(6)
    leaves = [value.requires_grad_() for value in (*head.values(), features)]

    def embedded(*values: Tensor) -> Tensor:
        *parameters, given = values
        return embed(dict(zip(head, parameters, strict=True)), given)

    assert torch.autograd.gradcheck(embedded, leaves)


def test_a_residual_head_begins_as_the_linear_one_of_the_same_seed():
    plain, branched = (
        draw(kind, FEATURES, DIM, HIDDEN, *(torch.Generator().manual_seed(at) for at in (3, 4)))
        for kind in ("linear", "residual")
    )
    features = rows(6, dtype=torch.float32)
    assert torch.equal(embed(branched, features), embed(plain, features))
    assert branched["hidden_weight"].any()
    grown = {**branched, "residual": torch.ones(HIDDEN, DIM)}
    assert not torch.allclose(embed(grown, features), embed(plain, features), atol=0.1)


def test_the_tensors_alone_say_which_head_it_is():
    shapes = {kind: {name: value.shape for name, value in drawn(kind).items()} for kind in KINDS}
    last = {"weight": (FEATURES, DIM), "bias": (DIM,)}
    layer = {"hidden_weight": (FEATURES, HIDDEN), "hidden_bias": (HIDDEN,)}
    assert shapes["linear"] == last
    assert shapes["residual"] == {**last, **layer, "residual": (HIDDEN, DIM)}
    assert shapes["mlp"] == {**last, **layer, "weight": (HIDDEN, DIM)}


def test_embeddings_are_the_unit_vectors_of_an_affine_map_by_hand():
    """(1, 2) maps to (1 * 1 + 2 * 1 + 0, 2 * 2 + 0) = (3, 4), of length 5."""
    head = {"weight": torch.tensor([[1.0, 0], [1, 2]]), "bias": torch.zeros(2)}
    torch.testing.assert_close(embed(head, torch.tensor([[1.0, 2]])), torch.tensor([[0.6, 0.8]]))


def test_a_row_that_maps_to_zero_stays_finite_with_a_finite_gradient():
    head = linear(3, 2, torch.Generator().manual_seed(0))
    weight = head["weight"].requires_grad_()
    embeddings = embed({"weight": weight, "bias": head["bias"]}, torch.zeros(1, 3))
    embeddings.sum().backward()
    assert not embeddings.detach().any()
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_three_heads_at_once_equal_three_heads_one_by_one(kind):
    heads = [drawn(kind, seed) for seed in range(3)]
    features = rows(3, 6)
    stacked = {name: torch.stack([head[name] for head in heads]) for name in heads[0]}
    together = torch.func.vmap(embed)(stacked, features)
    for run, head in enumerate(heads):
        torch.testing.assert_close(together[run], embed(head, features[run]))
