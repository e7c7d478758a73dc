"""The matrix of a transform: the directions of the covariance, whitened or only chosen."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.transforms.chain import LEDOIT_WOLF
from pipeline.transforms.covariance import Covariance

_NOTHING = 1e-12  # of the largest variance: below it a direction is rounding


def directions(found: Covariance, whiten: float | str | None, count: int | None) -> Tensor:
    """Choose directions v of the covariance, by falling variance l, and scale each.

    Whitening by the share s divides each by sqrt((1 - s) l + s m), m the mean variance; a direction
    without any variance, with s = 0, gets the length 0. In the end all are scaled alike, to unit
    mean square of what comes out.

    Args:
        found: of F features.
        whiten: the share s in [0, 1] or "ledoit-wolf"; None leaves all lengths at 1.
        count: how many directions to keep, at most F; None = all.

    Returns:
        (F, count) float64.
    """
    variances, vectors = torch.linalg.eigh(found.matrix)
    variances = variances.flip(0)[:count].clamp_min(0)  # (K,)
    vectors = vectors.flip(1)[:, :count]  # (F, K)
    vectors = with_fixed_signs(vectors)
    lengths = torch.ones_like(variances)
    if whiten is not None:
        share = found.ledoit_wolf() if whiten == LEDOIT_WOLF else float(whiten)
        mean = found.matrix.trace() / len(found.matrix)
        shrunk = (1 - share) * variances + share * mean
        lengths = torch.where(shrunk > _NOTHING * variances[0], shrunk.rsqrt(), 0)
    square = (variances * lengths.square()).mean()
    lengths = lengths * torch.where(square > 0, square.rsqrt(), 1)
    kept: Tensor = vectors * lengths
    return kept


def with_fixed_signs(basis: Tensor) -> Tensor:
    """Turn each column of a basis (F, K) so that its entry of largest size is positive.

    The sign of an eigenvector is free: so it is the same on every machine.
    """
    largest = basis.gather(0, basis.abs().argmax(dim=0, keepdim=True))
    return basis * torch.where(largest < 0, -1.0, 1.0)
