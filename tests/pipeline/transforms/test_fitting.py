"""Fitted transforms, against plain loops in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA
from torch import Tensor

from cache.errors import InputError
from pipeline.transforms.covariance import covariance
from pipeline.transforms.fitting import fit
from pipeline.transforms.transform import Transform

from .oracles import centred, of_unit_square, raised, whitened

CHAINS = ["centre", "power:0.5,standardise", "centre,whiten:0.2", "power:0.3,centre,pca:3"]


def features(rows: int = 200) -> Tensor:
    """Features like those behind a ReLU: non-negative, of uneven scale, one of them constant."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(rows, 5, generator=generator).relu() * torch.tensor([0.01, 1, 5, 50, 0])
    return values + torch.tensor([0.0, 0.0, 3.0, 100.0, 7.0])


def signed(rows: int = 60, width: int = 6) -> Tensor:
    """Features of both signs that hang together."""
    generator = torch.Generator().manual_seed(1)
    mixed = torch.randn(width, width, generator=generator)
    return torch.randn(rows, width, generator=generator) @ mixed + 0.5


def fitted(spec: str, rows: Tensor, tile: int = 64) -> Transform:
    return fit(spec, lambda: rows.split(tile))


def test_centred_features_have_mean_0_and_unit_mean_square_and_a_constant_one_is_0() -> None:
    rows = features()
    found = fitted("centre", rows)(rows)
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.square().mean(), torch.tensor(1.0), rtol=1e-4, atol=0)
    assert not found[:, 4].any()


def test_centring_keeps_the_ratio_of_the_features_deviations() -> None:
    rows = features()
    before, after = (values.std(dim=0)[:4] for values in (rows, fitted("centre", rows)(rows)))
    torch.testing.assert_close(after / after[3], before / before[3], rtol=1e-3, atol=0)


def test_centring_is_what_it_was_before_there_were_transforms_bit_for_bit() -> None:
    """The arithmetic of the first version, tile by tile."""
    for rows in (features(), features().half(), signed()):
        origin = rows[0].double()
        sums, squares = torch.zeros_like(origin), torch.zeros_like(origin)
        for part in rows.split(64):
            deviations = part - origin
            sums += deviations.sum(dim=0)
            squares += deviations.square_().sum(dim=0)
        shift = sums / len(rows)
        mean = (origin + shift).float()
        scale = (squares / len(rows) - shift.square()).clamp_min(0).mean().sqrt().float()
        found = fitted("centre", rows)
        assert found.tensors().keys() == {"mean", "scale"}
        assert torch.equal(found.mean, mean)
        assert torch.equal(found.scale, scale)
        assert torch.equal(found(rows), (rows.float() - mean).div_(scale))


@pytest.mark.parametrize("chain", ["centre", "standardise"])
def test_constant_features_of_any_size_keep_other_values_finite(chain: str) -> None:
    for size in (0.0, 1e-6, 1.0, 1e4):
        rows = torch.full((50, 1), size)
        found = fitted(chain, rows)
        assert found.scale.item() == 1
        torch.testing.assert_close(found(rows), torch.zeros(50, 1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("chain", CHAINS)
def test_half_precision_features_are_transformed_in_float32(chain: str) -> None:
    rows = features()[:, 1:4].half()
    found = fitted(chain, rows)
    assert found.mean.dtype == found(rows).dtype == torch.float32
    assert torch.equal(found(rows), found(rows.float()))


@pytest.mark.parametrize("chain", [*CHAINS, "centre,whiten:0", "centre,whiten:ledoit-wolf"])
def test_one_row_and_equal_rows_become_zeros(chain: str) -> None:
    for rows in (features(1), features(1).expand(20, 5)):
        assert not fitted(chain, rows)(rows).any()


def test_power_and_standardising_are_those_of_plain_loops() -> None:
    rows = signed()
    found = fitted("power:0.5,standardise", rows)(rows)
    expected = centred(raised(rows.double().numpy(), 0.5), is_standardised=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("middle", ["centre", "standardise"])
def test_whitened_features_have_the_cosines_and_the_size_of_plain_loops(middle: str) -> None:
    rows = signed()
    found = fitted(f"power:0.7,{middle},whiten:0.2", rows)(rows).numpy()
    base = centred(raised(rows.double().numpy(), 0.7), is_standardised=middle == "standardise")
    expected = of_unit_square(whitened(base, 0.2))
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)


def test_whitening_without_shrinkage_leaves_no_correlation_and_drops_what_does_not_vary() -> None:
    rows = features()
    found = fitted("standardise,whiten:0", rows)(rows).double()
    expected = torch.eye(5, dtype=torch.float64) * 5 / 4  # four of five directions vary
    expected[4, 4] = 0
    torch.testing.assert_close(found.T @ found / len(rows), expected, rtol=0, atol=1e-5)


def test_the_directions_kept_are_those_of_sklearns_pca() -> None:
    rows = signed()
    found = fitted("centre,pca:3", rows)(rows).numpy()
    expected = of_unit_square(PCA(3).fit_transform(rows.double().numpy()))
    assert found.shape == (60, 3)
    np.testing.assert_allclose(abs(found), abs(expected), atol=1e-5)


def test_directions_have_their_largest_component_positive_and_fall_by_variance() -> None:
    rows = signed()
    found = fitted("centre,pca:6", rows)
    assert found.matrix is not None
    assert (found.matrix.gather(0, found.matrix.abs().argmax(dim=0, keepdim=True)) > 0).all()
    variances = found(rows).square().mean(dim=0)
    assert torch.equal(variances, variances.sort(descending=True).values)


def test_whitened_and_reduced_features_are_the_first_columns_of_whitened_ones() -> None:
    rows = signed()
    whole, part = (fitted(f"centre,whiten:0.3{end}", rows)(rows) for end in ("", ",pca:2"))
    factor = whole[0, 0] / part[0, 0]  # each has unit mean square of its own
    torch.testing.assert_close(part * factor, whole[:, :2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("count", "width"), [(8, 20), (60, 6), (500, 12)])
def test_the_shrinkage_of_ledoit_and_wolf_is_sklearns(count: int, width: int) -> None:
    rows = signed(count, width).double()
    rows -= rows.mean(dim=0)
    _, expected = ledoit_wolf(rows.numpy())
    assert covariance(rows.split(7)).ledoit_wolf() == pytest.approx(expected, rel=1e-9)


def test_ledoit_wolf_whitens_by_the_share_that_it_estimates() -> None:
    rows = signed()
    base = centred(rows.double().numpy())
    _, share = ledoit_wolf(base, assume_centered=True)
    by_estimate = fitted("centre,whiten:ledoit-wolf", rows)(rows)
    by_share = fitted(f"centre,whiten:{share}", rows)(rows)
    assert 0 < share < 1
    torch.testing.assert_close(by_estimate, by_share, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chain", CHAINS)
def test_tiles_make_no_difference_and_no_row_hangs_on_its_neighbours(chain: str) -> None:
    rows = signed()
    whole, by_tiles = fitted(chain, rows, 60), fitted(chain, rows, 7)
    torch.testing.assert_close(by_tiles(rows), whole(rows), rtol=1e-5, atol=1e-5)
    one_by_one = torch.cat([whole(row) for row in rows.split(1)])
    assert torch.equal(one_by_one, whole(rows))


def test_more_directions_than_features_are_refused() -> None:
    with pytest.raises(InputError, match="keeps 7 directions of 6 features"):
        fitted("centre,pca:7", signed())
