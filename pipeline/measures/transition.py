"""The transition matrix of labels, estimated from features: which classes are mixed up."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.measures.label_posterior import fit_symmetric, tiles

MOST_CLASSES = 4000  # a matrix of more does not fit
_STEPS = 2


def estimate_transition(rows: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Estimates P_kj = p(given label j | right label k).

    Begins with the symmetric noise of `estimate_noise_rate` and takes two steps of expectation
    maximisation, q_k(x) being the softmax share over the class centres at the scale found there,
    each row left out of its own centre:

        r_i(k) ~ q_k(x_i) P_{k,y_i}, summing to 1 over k
        P_kj = sum of r_i(k) over rows with y_i = j / sum of r_i(k) over all rows

    Two steps, because more of them take the resemblance of classes for noise (measured on photos:
    the share of labels in wrong cells grows again). The project's own. A class that no row is of
    has 1 for itself.

    Args:
        rows: (N, D) unit norm.
        labels: (N,) int64, as given.
        num_classes: C, at least 2, at most MOST_CLASSES.

    Returns:
        (C, C) rows sum to 1.
    """
    rate, scale = fit_symmetric(rows, labels, num_classes)
    matrix = symmetric_matrix(num_classes, float(rate)).to(rows)
    for _ in range(_STEPS):
        matrix = _step(rows, labels, matrix, scale)
    return matrix


def symmetric_matrix(num_classes: int, rate: float) -> Tensor:
    """Makes the matrix (C, C) of symmetric noise of a rate in [0, 1]; C is at least 2."""
    matrix = torch.full((num_classes, num_classes), rate / (num_classes - 1))
    return matrix.fill_diagonal_(1 - rate)


def counted_matrix(before: Tensor, after: Tensor, num_classes: int) -> Tensor:
    """Counts how labels (N,) changed into others (N,): (C, C), as shares of each row's class."""
    counts = torch.zeros(num_classes, num_classes)
    counts.index_put_((before, after), torch.ones(len(before)), accumulate=True)
    return _shares(counts)


def _step(rows: Tensor, labels: Tensor, matrix: Tensor, scale: Tensor) -> Tensor:
    sums = torch.zeros_like(matrix)  # of r_i(k) over the rows of each label: (label, k)
    for similarity, y, is_unknown in tiles(rows, labels, torch.ones_like(rows[:, 0]), len(matrix)):
        share = (scale * similarity).softmax(dim=1) * matrix.T[y]  # (T, C)
        share = share / share.sum(dim=1, keepdim=True).clamp_min(1e-30)
        sums.index_add_(0, y, share.masked_fill(is_unknown[:, None], 0))
    return _shares(sums.T)


def _shares(counts: Tensor) -> Tensor:
    """Divides by row sums; a row of nothing becomes 1 for itself."""
    total = counts.sum(dim=1, keepdim=True)
    itself = torch.eye(len(counts), dtype=counts.dtype, device=counts.device)
    return torch.where(total > 1e-6, counts / total.clamp_min(1e-6), itself)
