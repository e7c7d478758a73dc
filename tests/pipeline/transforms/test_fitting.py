"""Fitted transforms: centring and its relatives, against plain loops."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from pipeline.transforms.fitting import fit
from pipeline.transforms.transform import Transform


def fitted(spec: str, rows: Tensor, tile: int = 64) -> Transform:
    def parts() -> Iterable[Tensor]:
        return rows.split(tile)

    return fit(spec, parts)


def features(rows: int = 200) -> torch.Tensor:
    """Features like those behind a ReLU: non-negative, of uneven scale, one of them constant."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(rows, 5, generator=generator).relu() * torch.tensor([0.01, 1, 5, 50, 0])
    return values + torch.tensor([0.0, 0.0, 3.0, 100.0, 7.0])


def test_centred_features_have_mean_0_and_unit_mean_square_and_a_constant_one_is_0():
    rows = features()
    centred = fitted("centre", rows)(rows)
    torch.testing.assert_close(centred.mean(dim=0), torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(centred.square().mean(), torch.tensor(1.0), rtol=1e-4, atol=0)
    assert not centred[:, 4].any()


def test_centring_keeps_the_ratio_of_the_features_deviations():
    rows = features()
    before, after = (values.std(dim=0)[:4] for values in (rows, fitted("centre", rows)(rows)))
    torch.testing.assert_close(after / after[3], before / before[3], rtol=1e-3, atol=0)


def test_constant_features_of_any_size_keep_other_values_finite():
    for size in (0.0, 1e-6, 1.0, 1e4):
        rows = torch.full((50, 1), size)
        centring = fitted("centre", rows)
        assert centring.scale.item() == 1
        torch.testing.assert_close(centring(rows), torch.zeros(50, 1), rtol=0, atol=1e-9)


def test_half_precision_features_are_centred_in_float32():
    rows = features()[:, 1:3].half()
    centring = fitted("centre", rows)
    assert centring.mean.dtype == centring(rows).dtype == torch.float32
    assert torch.equal(centring(rows), centring(rows.float()))


def test_one_row_is_centred_to_zeros():
    rows = features(1)
    assert torch.equal(fitted("centre", rows)(rows), torch.zeros(1, 5))


