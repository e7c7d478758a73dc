"""Exact copies among the rows of a matrix, without comparing all pairs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_ROWS_AT_ONCE = 4096  # whose bits are widened to 64 at a time


class Copies(NamedTuple):
    """Rows that are exact copies of earlier ones.

    Attributes:
        rows: (n,) int64.
        firsts: (n,) int64, for each the first row with the same values.
    """

    rows: Tensor
    firsts: Tensor


def copies_in(rows: Tensor) -> Copies:
    """Find the rows of (N, D) that have an earlier copy."""
    first = first_copies(rows)
    copies = (first != torch.arange(len(first), device=first.device)).nonzero()[:, 0]
    return Copies(copies, first[copies])


def first_copies(rows: Tensor) -> Tensor:
    """Find for each row the first row with exactly the same values.

    Rows are compared by an integer key over their bits: integer sums are exact in any order, so
    equal rows always have equal keys. Two unequal rows meet in one key with probability 2^-64.

    Args:
        rows: (N, D) float.

    Returns:
        (N,) int64, the row's own number where it has no earlier copy.
    """
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (rows.shape[1],), generator=generator)
    factors = factors.to(rows.device)  # (D,)
    key = torch.cat(
        [(_bits(part).long() * factors).sum(dim=1) for part in torch.split(rows, _ROWS_AT_ONCE)]
    )
    group = torch.unique(key, return_inverse=True)[1]
    numbers = torch.arange(len(key), device=rows.device)
    first = torch.full_like(group, len(key)).scatter_reduce(0, group, numbers, "amin")
    return first[group]


def _bits(rows: Tensor) -> Tensor:
    """See the float32 values of rows (n, D) as int32."""
    return rows.float().contiguous().view(torch.int32)
