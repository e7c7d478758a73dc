"""The nearest rows of every row, exact copies counted once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_TILE_ELEMENTS = 2**24  # cosines held at once, 64 MB


class Neighbourhood(NamedTuple):
    """The k nearest different rows of N rows, nearest first.

    Attributes:
        rows: (N, k) int64.
        cosines: (N, k).
    """

    rows: Tensor
    cosines: Tensor


def find(rows: Tensor, first: Tensor, count: int) -> Neighbourhood:
    """Search the nearest rows among all different ones, tile by tile.

    Args:
        rows: (N, F) unit norm.
        first: (N,) int64, the first copy of each row, itself if it has none.
        count: k at most; fewer where there are not so many different rows.
    """
    different, place = torch.unique(first, return_inverse=True)  # (U,), (N,)
    candidates = rows[different]
    k = min(count, len(different) - 1)
    found = []
    tile = max(1, _TILE_ELEMENTS // len(different))
    for part in torch.split(torch.arange(len(rows), device=rows.device), tile):
        cosines = rows[part] @ candidates.T  # (T, U)
        cosines.scatter_(1, place[part, None], -torch.inf)
        best = cosines.topk(k, dim=1)
        found.append(Neighbourhood(different[best.indices], best.values))
    return Neighbourhood(*(torch.cat(each) for each in zip(*found, strict=True)))
