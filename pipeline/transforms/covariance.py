"""The covariance of centred rows, in one pass, and how far Ledoit and Wolf would shrink it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Covariance:
    """What is known of N centred rows z.

    Attributes:
        matrix: (F, F) float64, the mean of z z'.
        fourth: () float64, the mean of |z|^4.
        num_rows: N.
    """

    matrix: Tensor
    fourth: Tensor
    num_rows: int

    def ledoit_wolf(self) -> float:
        """Estimate the share, in [0, 1], by which to move towards a multiple of the identity.

        With S the covariance, F features, N rows and m = trace(S) / F:

            beta = (mean |z|^4 - |S|^2) / N,  delta = |S - m I|^2,  share = min(beta, delta) / delta

        where |.| is the Frobenius norm; 0 where delta or beta is 0. It is the share that brings
        the shrunk covariance closest to the true one, as N and F grow together (Ledoit and Wolf,
        2004, in the form of scikit-learn's `ledoit_wolf`, from memory).
        """
        squared = self.matrix.square().sum()
        mean = self.matrix.trace() / len(self.matrix)
        delta = squared - len(self.matrix) * mean.square()
        beta = torch.minimum((self.fourth - squared) / self.num_rows, delta)
        return float(beta / delta) if beta > 0 else 0.0


def covariance(parts: Iterable[Tensor]) -> Covariance:
    """Sum over centred rows that come in parts (T, F), float32, at least one row in all."""
    products, fourth, count = torch.zeros(0, 0), torch.zeros(()), 0
    for part in parts:
        rows = (part.cpu() if part.device.type == "mps" else part).double()
        if not count:
            products, fourth = rows.new_zeros(rows.shape[1], rows.shape[1]), rows.new_zeros(())
        products.addmm_(rows.T, rows)
        fourth += rows.square().sum(dim=1).square().sum()
        count += len(rows)
    return Covariance(products / count, fourth / count, count)
