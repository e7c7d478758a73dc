"""How densely a row's neighbourhood is filled, and three groups of such densities.

Distances are formed in tiles, so nothing of size n x n is held for a large class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_TILE_ELEMENTS = 2**24  # distances held at once, 64 MB of float32
_ROUNDING = 1e-5  # squared distances of unit rows closer than this count as equal
_BUCKETS = 2**16


def densities(rows: Tensor, share: float) -> Tensor:
    """Counts each row's neighbours within a cutoff distance.

        rho_i = #{j != i: D_ij < d_c},   d_c = element int(share * n^2) of all n^2 sorted distances

    the n zeros of the rows to themselves included; an index beyond the last element is the last.

    Args:
        rows: (n, F) unit norm.
        share: in (0, 1].

    Returns:
        (n,) int64 in 0..n-1; 0 for all where all rows are equal.
    """
    num_rows = len(rows)

    def tiles() -> Iterator[Tensor]:
        return _squared_distances(rows)

    place = min(int(share * num_rows**2), num_rows**2 - 1)
    cutoff = nth_smallest(tiles, place) - _ROUNDING
    within = torch.cat([(tile < cutoff).sum(dim=1) for tile in tiles()])
    return (within - 1).clamp_min(0)  # without the row itself


def nth_smallest(tiles: Callable[[], Iterator[Tensor]], place: int) -> Tensor:
    """Selects the element of a place (from 0) in the sorted values of all tiles, exactly.

    The bits of non-negative float32 numbers sort as integers: one pass over the tiles counts their
    upper halves, a second one the lower halves among those that share the upper half sought.

    Args:
        tiles: gives the tiles, float32 and at least 0, anew at each call.
        place: below the number of values.

    Returns:
        () float32.
    """
    known = 0
    for shift in (16, 0):
        counts: Tensor | int = 0
        for tile in tiles():
            bits = tile.flatten().view(torch.int32)
            if shift == 0:
                bits = bits[bits >> 16 == known >> 16]
            counts = counts + torch.bincount((bits >> shift) % _BUCKETS, minlength=_BUCKETS)
        total = torch.as_tensor(counts).cumsum(0)
        bucket = int(torch.searchsorted(total, place, right=True))
        place -= int(total[bucket - 1]) if bucket else 0
        known += bucket << shift
    return torch.tensor(known, dtype=torch.int32).view(torch.float32)


def three_groups(values: Tensor) -> Tensor:
    """Divides numbers into three by exact one-dimensional k-means: 0 the highest, 2 the lowest.

    Minimises the squared deviations from the group means over all ways to cut the sorted distinct
    values twice; with fewer than three distinct values all are in group 0.

    Args:
        values: (n,) int64.

    Returns:
        (n,) int64 in 0..2.
    """
    distinct, place, counts = torch.unique(values, return_inverse=True, return_counts=True)
    if len(distinct) < 3:
        return torch.zeros_like(values)
    first, second = _best_cuts(distinct.double().cpu(), counts.double().cpu())
    group: Tensor = 2 - (place >= first).long() - (place >= second).long()
    return group


def groups_by_share(values: Tensor, first: float, second: float) -> Tensor:
    """Divides numbers into three by rank: the highest share in group 0, the next in 1, the rest 2.

    Equal numbers are in one group, the higher of those that they could be in.

    Args:
        values: (n,), n at least 1.
        first: share of group 0, in (0, 1).
        second: share of group 1, in (0, 1 - first).

    Returns:
        (n,) int64 in 0..2.
    """
    ordered = values.sort(descending=True).values
    high, low = (ordered[math.ceil(share * len(values)) - 1] for share in (first, first + second))
    group: Tensor = 2 - (values >= high).long() - (values >= low).long()
    return group


def _best_cuts(values: Tensor, counts: Tensor) -> tuple[int, int]:
    """Finds where the middle and the highest group begin among m sorted values, 0 < a < b < m."""
    size = len(values)
    start = values.new_zeros(1)
    number = torch.cat([start, counts.cumsum(0)])  # (m + 1,)
    total = torch.cat([start, (counts * values).cumsum(0)])

    def gain(begin: Tensor, end: Tensor) -> Tensor:
        # The sum of squares is the same for all cuts, so this is what a group saves of it.
        return (total[end] - total[begin]) ** 2 / (number[end] - number[begin])

    none, everything = torch.zeros((), dtype=torch.long), torch.tensor(size)
    best, cuts = -torch.inf, (1, 2)
    for second in range(2, size):
        first, end = torch.arange(1, second), torch.tensor(second)
        saved = gain(none, first) + gain(first, end) + gain(end, everything)
        at = int(saved.argmax())
        if float(saved[at]) > best:
            best, cuts = float(saved[at]), (at + 1, second)
    return cuts


def _squared_distances(rows: Tensor) -> Iterator[Tensor]:
    """Yields (T, n) float32 squared distances to all rows, exactly 0 to the row itself."""
    norms = rows.square().sum(dim=1)  # (n,)
    tile = max(1, _TILE_ELEMENTS // len(rows))
    for at in range(0, len(rows), tile):
        part = rows[at : at + tile]
        squared = norms[at : at + tile, None] + norms - 2 * part @ rows.T  # (T, n)
        own = torch.arange(at, at + len(part), device=rows.device)[:, None]
        yield squared.clamp_min(0).scatter(1, own, 0.0).float()
