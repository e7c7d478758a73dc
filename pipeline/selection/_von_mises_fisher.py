"""Von Mises-Fisher densities on the unit sphere: concentrations of classes and normalisers.

f(x) = c_d(kappa) exp(kappa mu . x),   log c_d(kappa) = v log kappa - (d/2) log 2 pi
                                                        - log I_v(kappa),   v = d/2 - 1
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ENOUGH = 10  # rows from which on a class's own concentration is trusted


def concentrations(lengths: Tensor, totals: Tensor, dim: int, *, is_shared: bool) -> Tensor:
    """Estimates kappa from the length of each class's mean.

        kappa_k = R_k (d - R_k^2) / (1 - R_k^2),   R_k in [1e-6, 1 - 1e-4]

    A class with fewer than 10 rows (with one row R is 1) has the median of those with at least 10,
    or, where no class has so many, of those with the most.

    Args:
        lengths: (C,) R, the norm of the mean of the class's unit rows.
        totals: (C,) rows per class.
        dim: d.
        is_shared: whether all classes have the median.

    Returns:
        (C,) float.
    """
    length = lengths.clamp(1e-6, 1 - 1e-4)
    kappa = length * (dim - length**2) / (1 - length**2)
    is_trusted = totals >= totals.clamp_max(_ENOUGH).max()
    median = kappa[is_trusted].median()
    return median.expand_as(kappa) if is_shared else torch.where(is_trusted, kappa, median)


def log_normaliser(kappa: Tensor, dim: int) -> Tensor:
    """Computes log c_d(kappa) for (C,) kappa above 0: (C,) float64."""
    order = dim / 2 - 1
    kappa = kappa.double()
    return order * kappa.log() - dim / 2 * math.log(2 * math.pi) - log_bessel(order, kappa)


def log_bessel(order: float, kappa: Tensor) -> Tensor:
    """Computes log I_v(kappa), modified Bessel function of the first kind, without overflow.

        s + v log(kappa / (v + s)) - log(2 pi s) / 2,   s = sqrt(v^2 + kappa^2)

    The leading term for large orders (Olver): the error is below 3e-3 from v = 31 on, and falls
    with the order. I_v itself would leave every float: I_255(1) is about e^-1338.

    Args:
        order: v, at least 0.
        kappa: float64, above 0.
    """
    s = (order**2 + kappa**2).sqrt()
    return s + order * (kappa / (order + s)).log() - 0.5 * (2 * math.pi * s).log()
