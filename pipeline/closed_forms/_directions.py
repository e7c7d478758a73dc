"""Directions in which rows differ more between classes than within them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.closed_forms._statistics import Statistics
from pipeline.transforms.directions import with_fixed_signs

_FLOOR = 1e-6  # of the total variance, added to each: nothing is divided by 0
_RAISES = 6  # times ten each, up to the variance itself


class Directions(NamedTuple):
    """F directions, the one of largest ratio first.

    Attributes:
        basis: (F, F), a direction in each column, of unit within-class variance.
        ratios: (F,), total variance along each, in units of the within-class variance.
    """

    basis: Tensor
    ratios: Tensor

    @property
    def between(self) -> Tensor:
        """How much of the ratio is between classes, (F,): ratio - 1, at least 0."""
        return (self.ratios - 1).clamp_min(0)


def shrunk(covariance: Tensor, shrinkage: float, total: Tensor) -> Tensor:
    """Move a covariance (F, F) towards a multiple of the identity of equal trace.

        (1 - s) S + s tr(S)/F I, and a floor of 1e-6 of the mean total variance

    Args:
        covariance: S.
        shrinkage: s in [0, 1].
        total: (F, F), the covariance of all rows.
    """
    variance = covariance.diagonal().mean().clamp_min(0)
    moved = (1 - shrinkage) * covariance
    moved.diagonal().add_(shrinkage * variance + floor(total))
    return moved


def floor(total: Tensor) -> Tensor:
    """Take 1e-6 of the mean variance of all rows, () above 0, from their covariance (F, F)."""
    return (_FLOOR * total.diagonal().mean()).clamp_min(_FLOOR**2)


def relative(statistics: Statistics, shrinkage: float) -> Directions:
    """Solve T v = r W_s v with v' W_s v = 1: one basis in which W_s is 1 and T is diagonal.

    In it every within-class-whitened metric is a scaling of directions, for W_s^(-1/2) and this
    basis differ by a rotation, which no cosine sees. Each shrinkage is solved once.
    """
    if shrinkage not in statistics.solved:
        statistics.solved[shrinkage] = _solve(statistics, shrinkage)
    found: Directions = statistics.solved[shrinkage]
    return found


def _solve(statistics: Statistics, shrinkage: float) -> Directions:
    root = _root(shrunk(statistics.within, shrinkage, statistics.total), floor(statistics.total))
    half = torch.linalg.solve_triangular(root, statistics.total, upper=False)
    both = torch.linalg.solve_triangular(root, half.T, upper=False)
    ratios, rotation = torch.linalg.eigh((both + both.T) / 2)
    basis = torch.linalg.solve_triangular(root.T, rotation, upper=True)
    return Directions(with_fixed_signs(basis.flip(1)), ratios.flip(0))


def _root(matrix: Tensor, least: Tensor) -> Tensor:
    """Factor a covariance (F, F) as L L'.

    One of fewer rows than features, unshrunk, is singular but for the floor, which rounding can
    outweigh: then its diagonal is raised by more and more, from the floor on.
    """
    root: Tensor
    root, failed = torch.linalg.cholesky_ex(matrix)
    for _ in range(_RAISES):
        if not int(failed):
            break
        matrix = matrix + least * torch.eye(len(matrix), device=matrix.device)
        root, failed = torch.linalg.cholesky_ex(matrix)
        least = 10 * least
    return root
