"""Products by NumPy and by torch are the same but for rounding."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pipeline.program.products import product


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_product_is_that_of_torch(dtype, threads):
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(*shape, generator=generator).to(dtype) for shape in ((7, 5), (5, 3)))
    for given in ((left, right), (right.T, left.T), (left.requires_grad_(), right)):
        found = product(*given)
        assert found.dtype == dtype
        torch.testing.assert_close(found.detach(), (given[0] @ given[1]).detach())


def test_a_product_runs_under_vmap(threads):
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(4, 7, 5, generator=generator), torch.randn(5, 3, generator=generator)
    found = torch.func.vmap(product, in_dims=(0, None))(left, right)
    torch.testing.assert_close(found, left @ right)
