"""K-means, because the metrics NMI and AMI need a clustering.

Not FAISS's: its macOS wheels bring an OpenMP library of their own and a process that has torch's
too may crash (faiss-wheels issue 73). Not SciPy's: it holds all N x K distances.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TILE_BYTES = 2**28


def k_means(rows: Tensor, num_clusters: int, *, seed: int, iterations: int = 20) -> Tensor:
    """Cluster rows by Lloyd's iterations from a k-means++ start (Arthur, Vassilvitskii 2007).

    Stops early when no row moves. A cluster that loses all its rows keeps its centre.

    Args:
        rows: (N, D) float.
        num_clusters: in [1, N].
        seed: of the start.
        iterations: at least 1.

    Returns:
        (N,) int64 cluster numbers in [0, num_clusters).
    """
    rows = rows.float()
    centres = _start(rows, num_clusters, torch.Generator().manual_seed(seed))
    place = _nearest(rows, centres)
    for _ in range(iterations):
        sizes = torch.bincount(place, minlength=num_clusters)[:, None]  # (K, 1)
        sums = torch.zeros_like(centres).index_add_(0, place, rows)
        centres = torch.where(sizes > 0, sums / sizes.clamp_min(1), centres)
        before, place = place, _nearest(rows, centres)
        if torch.equal(before, place):
            break
    return place


def _start(rows: Tensor, num_clusters: int, generator: torch.Generator) -> Tensor:
    """Draw rows, each with a probability in proportion to its squared distance to those drawn."""
    squares = (rows**2).sum(dim=1)
    distance = torch.ones_like(squares)  # the first row is drawn uniformly
    chosen: list[Tensor] = []
    for draw in torch.rand(num_clusters, generator=generator, dtype=torch.float64).tolist():
        heap = distance.cumsum(dim=0)
        row = torch.searchsorted(heap, heap[-1:] * draw, right=True).clamp_max(len(rows) - 1)
        found = (squares + squares[row] - 2 * (rows @ rows[row[0]])).clamp_min(0)
        found[row] = 0  # rounding must not let a row be drawn again
        distance = torch.minimum(distance, found) if chosen else found
        chosen.append(row)
    return rows[torch.cat(chosen)]


def _nearest(rows: Tensor, centres: Tensor) -> Tensor:
    """Find the nearest centre of each row, (N,) int64, in tiles."""
    offset = (centres**2).sum(dim=1) / 2  # (K,)
    tile = max(1, _TILE_BYTES // (8 * len(centres)))
    return torch.cat(
        [(part @ centres.T - offset).argmax(dim=1) for part in torch.split(rows, tile)]
    )
