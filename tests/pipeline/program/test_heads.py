"""The embedding head."""

from __future__ import annotations

import torch

from pipeline.program.heads import embed, linear


def test_a_head_is_drawn_from_its_generator_with_a_deviation_by_fan_out():
    """Kaiming-normal by fan-out: standard deviation sqrt(2 / D)."""
    head = linear(400, 50, torch.Generator().manual_seed(1))
    same = linear(400, 50, torch.Generator().manual_seed(1))
    assert torch.equal(head["weight"], same["weight"])
    assert head["weight"].shape == (400, 50)
    assert abs(head["weight"].std().item() - (2 / 50) ** 0.5) < 0.005
    assert not head["bias"].any()


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


def test_three_heads_at_once_equal_three_heads_one_by_one():
    heads = [linear(4, 3, torch.Generator().manual_seed(seed)) for seed in range(3)]
    rows = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(5))
    stacked = {name: torch.stack([head[name] for head in heads]) for name in heads[0]}
    together = torch.func.vmap(embed)(stacked, rows)
    for run, head in enumerate(heads):
        torch.testing.assert_close(together[run], embed(head, rows[run]))
