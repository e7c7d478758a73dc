"""Exact copies among rows, against a comparison of all values."""

from __future__ import annotations

import pytest
import torch

from pipeline.measures.copies import first_copies


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize(("rows", "dim"), [(1, 3), (5, 16), (33, 100), (101, 64), (257, 37)])
def test_each_row_finds_the_first_row_with_its_values(rows, dim, dtype):
    generator = torch.Generator().manual_seed(rows)
    values = torch.randn(rows, dim, generator=generator).to(dtype)
    values[::2] = values[torch.randint(rows, (len(values[::2]),), generator=generator)]
    values[-1] = values[0]
    expected = [min(j for j in range(rows) if torch.equal(values[j], row)) for row in values]
    assert first_copies(values).tolist() == expected


def test_rows_that_differ_in_one_last_bit_or_in_their_order_are_no_copies():
    rows = torch.tensor([[1.0, 2, 3], [3, 2, 1], [1, 2, 3], [1, 2, 3.0000002]])
    assert first_copies(rows).tolist() == [0, 1, 0, 3]
