"""The nearest rows of every row, exact copies counted once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_TILE_ELEMENTS = 2**24  # cosines held at once, 64 MB
_BLOCK = 4096  # rows that an inverted file is asked for at once
# Rows whose pairs are all looked at: beyond, the CPU would take minutes.
EXACT_ROWS = {"cpu": 2**14, "cuda": 2**18, "mps": 2**16}


class Neighbourhood(NamedTuple):
    """The k nearest different rows of N rows, nearest first.

    Attributes:
        rows: (N, k) int64.
        cosines: (N, k).
    """

    rows: Tensor
    cosines: Tensor


def find(
    rows: Tensor, first: Tensor, count: int, *, exact_rows: int | None = None
) -> Neighbourhood:
    """Search the nearest rows among all different ones.

    Exact, tile by tile, up to 16,384 different rows on the CPU; of more an inverted file looks at
    the nearest cells of each row and misses some neighbours (about one of a hundred of 20,000
    made-up rows), so the cost grows with N sqrt(N) and no longer with N N.

    Args:
        rows: (N, F) unit norm.
        first: (N,) int64, the first copy of each row, itself if it has none.
        count: k at most; fewer where there are not so many different rows.
        exact_rows: the limit; None = that of the device.
    """
    different, place = torch.unique(first, return_inverse=True)  # (U,), (N,)
    candidates = rows[different]
    k = min(count, len(different) - 1)
    limit = EXACT_ROWS[rows.device.type] if exact_rows is None else exact_rows
    if len(different) > limit:
        near = _among_cells(candidates, k)
        return Neighbourhood(different[near.rows[place]], near.cosines[place])
    near = _among_all(rows, candidates, place, k)
    return Neighbourhood(different[near.rows], near.cosines)


def _among_all(rows: Tensor, candidates: Tensor, place: Tensor, count: int) -> Neighbourhood:
    """Compare rows (T, F) with all candidates (U, F) but that at their own place (T,)."""
    found = []
    numbers = torch.arange(len(rows), device=rows.device)
    for part in torch.split(numbers, max(1, _TILE_ELEMENTS // len(candidates))):
        cosines = rows[part] @ candidates.T  # (P, U)
        cosines.scatter_(1, place[part, None], -torch.inf)
        best = cosines.topk(count, dim=1)
        found.append(Neighbourhood(best.indices, best.values))
    return Neighbourhood(*(torch.cat(each) for each in zip(*found, strict=True)))


def _among_cells(rows: Tensor, count: int) -> Neighbourhood:
    """Compare different rows (U, F) with those of the cells nearest to each."""
    from pipeline.measures.approximate import inverted_file  # FAISS only where it is needed

    values = rows.cpu().numpy()
    index = inverted_file(values, np.random.default_rng(0))
    parts = [
        index.search(values[start : start + _BLOCK], count + 1)
        for start in range(0, len(values), _BLOCK)
    ]
    cosines, near = (torch.from_numpy(np.concatenate(each)) for each in zip(*parts, strict=True))
    own = torch.arange(len(near))
    # Each row is among its own neighbours, or something ties with it: the last one goes then.
    is_own = near == own[:, None]
    is_own[:, -1] |= ~is_own.any(dim=1)
    near, cosines = near[~is_own].reshape(-1, count), cosines[~is_own].reshape(-1, count)
    near, cosines = near.to(rows.device), cosines.to(rows)
    short = (near < 0).any(dim=1).nonzero()[:, 0]  # too few rows in these cells
    if len(short):
        exact = _among_all(rows[short], rows, short, count)
        near[short], cosines[short] = exact.rows, exact.cosines
    return Neighbourhood(near, cosines)
