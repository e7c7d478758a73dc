"""Spaces in which labels can be judged: centred features whose common directions are damped."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_TILE = 4096


def whitened(features: Tensor, *, ridge: float = 1.0) -> Tensor:
    """Centre features, level their variances, and bring rows to unit norm.

    With S = sum_j v_j u_j u_j' the covariance of all rows and v the mean of its eigenvalues,

        x -> (S + ridge v I)^(-1/2) (x - mean)

    A few directions carry most of the variance of frozen features and say little about fine
    classes: levelling them lets cosines tell alike classes apart. The ridge keeps the weak
    directions, which are noise, from counting as much as the strong ones.

    Args:
        features: (N, F) of any float type.
        ridge: above 0; much above 1 leaves the features as they are, but centred.

    Returns:
        (N, F) float32 of unit norm; rows equal to the mean stay 0.
    """
    values = centred(features)
    return levelled(values, values.T @ values / len(values), ridge=ridge)


def centred(features: Tensor) -> Tensor:
    """Take the mean of (N, F) features of any float type away: (N, F) float32."""
    mean = torch.stack([part.double().sum(0) for part in torch.split(features, _TILE)]).sum(0)
    mean = (mean / len(features)).float()
    return features.float() - mean


def levelled(values: Tensor, covariance: Tensor, *, ridge: float) -> Tensor:
    """Level the variances of centred rows by some covariance, and bring the rows to unit norm.

    Args:
        values: (N, F) float32, centred.
        covariance: (F, F), S in `whitened`; not necessarily that of these rows.
        ridge: as in `whitened`.
    """
    variances, directions = torch.linalg.eigh(covariance)
    floor = ridge * variances.mean().clamp_min(1e-12)
    factor = (variances.clamp_min(0) + floor).rsqrt()
    root = (directions * factor) @ directions.T  # symmetric: no direction is singled out
    return functional.normalize(values @ root, dim=1)
