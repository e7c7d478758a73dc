"""Exact copies among the rows of a matrix, without comparing all pairs."""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS_AT_ONCE = 4096  # whose bits are widened to 64 at a time


def first_copies(rows: Tensor) -> Tensor:
    """Find for each row the first row with exactly the same values.

    Rows are compared by an integer key over their bits: integer sums are exact in any order, so
    equal rows always have equal keys. Two unequal rows meet in one key with probability 2^-64.

    Args:
        rows: (N, D) float.

    Returns:
        (N,) int64, the row's own number where it has no earlier copy.
    """
    bits = rows.float().contiguous().view(torch.int32)  # (N, D)
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (rows.shape[1],), generator=generator)
    factors = factors.to(rows.device)
    key = torch.cat(
        [(part.long() * factors).sum(dim=1) for part in torch.split(bits, _ROWS_AT_ONCE)]
    )
    group = torch.unique(key, return_inverse=True)[1]
    numbers = torch.arange(len(key), device=rows.device)
    first = torch.full_like(group, len(key)).scatter_reduce(0, group, numbers, "amin")
    return first[group]
