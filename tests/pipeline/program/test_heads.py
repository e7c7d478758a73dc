"""The embedding head and the centring in front of it."""

from __future__ import annotations

import torch

from pipeline.program.heads import Centring, embed, linear


def features(rows: int = 200) -> torch.Tensor:
    """Features like those behind a ReLU: non-negative, of uneven scale, one of them constant."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(rows, 5, generator=generator).relu() * torch.tensor([0.01, 1, 5, 50, 0])
    return values + torch.tensor([0.0, 0.0, 3.0, 100.0, 7.0])


def test_centred_features_have_mean_0_and_unit_mean_square_and_a_constant_one_is_0():
    rows = features()
    centred = Centring.of(rows)(rows)
    torch.testing.assert_close(centred.mean(dim=0), torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(centred.square().mean(), torch.tensor(1.0), rtol=1e-4, atol=0)
    assert not centred[:, 4].any()


def test_centring_keeps_the_ratio_of_the_features_deviations():
    rows = features()
    before, after = (values.std(dim=0)[:4] for values in (rows, Centring.of(rows)(rows)))
    torch.testing.assert_close(after / after[3], before / before[3], rtol=1e-3, atol=0)


def test_constant_features_of_any_size_keep_other_values_finite():
    for size in (0.0, 1e-6, 1.0, 1e4):
        rows = torch.full((50, 1), size)
        centring = Centring.of(rows)
        assert centring.scale.item() == 1
        torch.testing.assert_close(centring(rows), torch.zeros(50, 1), rtol=0, atol=1e-9)


def test_half_precision_features_are_centred_in_float32():
    rows = features()[:, 1:3].half()
    centring = Centring.of(rows)
    assert centring.mean.dtype == centring(rows).dtype == torch.float32
    assert torch.equal(centring(rows), centring(rows.float()))


def test_one_row_is_centred_to_zeros():
    rows = features(1)
    assert torch.equal(Centring.of(rows)(rows), torch.zeros(1, 5))


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
