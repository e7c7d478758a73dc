"""Where the means of classes lie apart, in a within-class-whitened space."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.closed_forms._statistics import Statistics
from pipeline.transforms.directions import with_fixed_signs

_LEAST = 1e-6  # of the largest scatter


def apart(statistics: Statistics, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Diagonalise the unweighted scatter of class means.

    Args:
        statistics: of the training rows, with C' class means.
        basis: (F, F), a within-class-whitened space.

    Returns:
        (F, k) orthonormal directions in that space, the one of largest scatter first, and (k,)
        their scatter, k = min(C' - 1, F), at least 1. A direction in which the means do
        not differ is 0, as is its scatter.
    """
    means = statistics.means @ basis  # (C', F)
    if len(means) < 2:
        return basis.new_zeros(basis.shape[1], 1), basis.new_zeros(1)
    means = means - means.mean(dim=0)
    k = min(len(means) - 1, means.shape[1])
    if len(means) < means.shape[1]:  # the small product has the same eigenvalues
        scatter, among = torch.linalg.eigh(means @ means.T / len(means))
        directions = functional.normalize(means.T @ among[:, -k:], dim=0)
    else:
        scatter, directions = torch.linalg.eigh(means.T @ means / len(means))
        directions = directions[:, -k:]
    scatter, directions = scatter[-k:].flip(0).clamp_min(0), directions.flip(1)
    there = scatter > _LEAST * scatter[0]  # the others are roundings, and not orthogonal to these
    return with_fixed_signs(directions * there), scatter * there
