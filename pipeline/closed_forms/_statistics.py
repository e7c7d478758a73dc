"""What closed forms know of the training rows: their scatter, and that around their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.program.rows import Rows, tile_rows, tiles

_TILES = 8  # taken together: larger products are quicker


class Member(NamedTuple):
    """Rows as members of classes; a row may belong to several, each time with a part of itself.

    Attributes:
        labels: (N,) int64 in 0..C-1.
        weights: (N,) in [0, 1].
    """

    labels: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Statistics:
    """Second moments of N rows, float32, summed in float64.

    Attributes:
        total: (F, F), the covariance of all rows, whatever their weights and labels.
        within: (F, F), the weighted mean of (x - m_y)(x - m_y)', m_y the weighted mean of the
            class that the row is labelled with; 0 where no row has any weight.
        means: (C', F), the weighted means of the classes that have weight, less the mean of all
            rows.
        span: (F', F) orthonormal columns where these are statistics of fewer coordinates than the
            F' features have; None where they are of the features themselves.
        solved: what was made of them, for the next form that asks.
    """

    total: Tensor
    within: Tensor
    means: Tensor
    span: Tensor | None = None
    solved: dict[float, Any] = field(default_factory=dict, compare=False)

    def in_features(self, weight: Tensor) -> Tensor:
        """Bring a weight (F, D) of these coordinates to the features that they stand for."""
        return weight if self.span is None else self.span.to(weight) @ weight


def gather(features: Rows, members: Sequence[Member], num_classes: int) -> Statistics:
    """Measure all rows in one pass.

    Args:
        features: (N, F) float32, centred or nearly so: squares of far-off means would cancel.
        members: who belongs to which class; a row of weight 0 counts for `total` alone.
        num_classes: C.
    """
    # Apple's devices have no float64.
    device = torch.device("cpu") if features.device.type == "mps" else features.device
    count, width = features.shape
    members = [Member(each.labels.to(device), each.weights.to(device)) for each in members]
    sums = torch.zeros(num_classes, width, dtype=torch.float64, device=device)
    everything = torch.zeros(width, width, dtype=torch.float64, device=device)
    weighted, mean = torch.zeros_like(everything), torch.zeros_like(everything[0])
    size = _TILES * tile_rows(width)
    for at, tile in enumerate(tiles(features, size)):
        part, rows = slice(at * size, at * size + len(tile)), tile.to(device)
        mean += rows.sum(dim=0).double()
        everything += (rows.T @ rows).double()
        shares = torch.stack([each.weights[part] for each in members]).sum(dim=0)
        weighted += (rows.T @ (rows * shares[:, None])).double()
        for labels, weights in members:
            sums.index_add_(0, labels[part], (rows * weights[part, None]).double())
    mean /= count
    mass = torch.zeros_like(sums[:, 0])  # (C,)
    for labels, weights in members:
        mass.index_add_(0, labels, weights.double())
    has_rows = mass > 0
    means = sums[has_rows] / mass[has_rows, None]
    within = (weighted - means.T @ sums[has_rows]) / mass.sum().clamp_min(1e-12)
    return Statistics(
        total=_symmetric(everything / count - mean[:, None] * mean).float(),
        within=_symmetric(within).float(),
        means=(means - mean).float(),
    )


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.T) / 2
