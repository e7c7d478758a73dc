"""Whitening by the covariance of all rows; no label is looked at.

    x -> V (D_s)^(-1/2)' x,   T_s = (1 - s) T + s tr(T)/F I = V D_s V'

T = covariance of the training rows; the directions of largest variance are kept.

Source: Jegou, Chum, "Negative evidences and co-occurrences in image retrieval: the benefit of PCA
and whitening", ECCV 2012 (from memory). The shrinkage is our choice.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from pipeline.closed_forms import _directions
from pipeline.closed_forms._statistics import Statistics
from pipeline.transforms.directions import with_fixed_signs


def fit(
    statistics: Statistics,
    dim: int,
    *,
    shrinkage: Annotated[float, "at least 0, at most 1"] = 0.3,
) -> Tensor:
    """Compute the head's weight.

    Args:
        statistics: of the training rows; `within` and `means` are not read.
        dim: how many directions to keep, at least 1.
        shrinkage: s in [0, 1]; 1 leaves the rows as they are.

    Returns:
        (F, min(dim, F)).
    """
    variances, basis = torch.linalg.eigh(statistics.total)  # shrunk, they could not be ranked
    variances = variances.clamp_min(0)  # which rounding can pass
    variances = (1 - shrinkage) * variances + shrinkage * variances.mean()
    variances = variances + _directions.floor(statistics.total)
    return with_fixed_signs((basis * variances.rsqrt())[:, -dim:].flip(1))
