"""The probability that a given label is right, from similarities to class centres.

All rows are scored against all classes in tiles, so nothing of size N x C or N x N is held.
Selections rank rows by it; losses that correct for noise take the noise rate from it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.program.rows import Rows
from pipeline.program.rows import tiles as tiles_of

_TILE = 4096
_SCALES = (4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0)
_EM_STEPS = 60


def class_sums(rows: Tensor, labels: Tensor, weights: Tensor, num_classes: int) -> Tensor:
    """Sums the weighted rows of each class: (N, D) -> (C, D)."""
    sums = rows.new_zeros(num_classes, rows.shape[1])
    return sums.index_add(0, labels, rows * weights[:, None])


def sums_of_all(rows: Rows, labels: Tensor, weights: Tensor, num_classes: int) -> Tensor:
    """Sums the weighted rows of each class tile by tile: (N, D) -> (C, D)."""
    sums = weights.new_zeros(num_classes, rows.shape[1])
    for x, y, w in _together(rows, labels, weights):
        sums.index_add_(0, y, x * w[:, None])
    return sums


def every_row(rows: Rows) -> Tensor:
    """Weights (N,) with which every row counts fully."""
    return torch.ones(len(rows), dtype=rows.dtype, device=rows.device)


def log_posteriors(
    rows: Rows,
    labels: Tensor,
    weights: Tensor,
    num_classes: int,
    scales: tuple[float, ...],
    *,
    is_unit: bool = True,
) -> Tensor:
    """Computes the log softmax share of each row's own class, left out of its own centre.

        log P_i = s c_i(y_i) . x_i - log sum_k exp(s c_i(k) . x_i)

    c_i(k) is the mean of class k without row i, of unit norm or raw. A row that is alone in its
    class has no such centre: its value is 0 ("unknown", so it is kept). A class without rows takes
    no part.

    Args:
        rows: (N, D) unit norm.
        labels: (N,) int64.
        weights: (N,) in [0, 1], how much each row counts in its class's centre.
        num_classes: C.
        scales: S softmax scales.
        is_unit: whether class means are brought to unit norm.

    Returns:
        (S, N) float; exactly 0 for unknown rows only, below 0 for all others.
    """
    parts = []
    for similarity, y, is_unknown in tiles(rows, labels, weights, num_classes, is_unit=is_unit):
        logs = [own_log_share(scale * similarity, y, is_unknown) for scale in scales]
        parts.append(torch.stack(logs))
    return torch.cat(parts, dim=1)


def tiles(
    rows: Rows, labels: Tensor, weights: Tensor, num_classes: int, *, is_unit: bool = True
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Compares all rows with all class centres, T rows at a time; arguments as above.

    Yields:
        (T, C) products with c_i(k), cosines if of unit norm, -inf for classes without rows; (T,)
        the rows' labels; (T,) bool, whether a row is alone in its class.
    """
    sums = sums_of_all(rows, labels, weights, num_classes)  # (C, D)
    totals = weights.new_zeros(num_classes).index_add(0, labels, weights)  # (C,)
    for x, y, w in _together(rows, labels, weights):
        similarity, is_unknown = _similarities(x, y, w, sums, totals, is_unit=is_unit)
        yield similarity, y, is_unknown


def _together(
    rows: Rows, labels: Tensor, weights: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Walk through all rows with their labels and weights, T at a time."""
    parts = torch.split(labels, _TILE), torch.split(weights, _TILE)
    return zip(tiles_of(rows, _TILE), *parts, strict=True)


def own_log_share(logits: Tensor, labels: Tensor, is_unknown: Tensor) -> Tensor:
    """Takes the log softmax (T, C) at the labels (T,): below 0, and 0 for unknown rows."""
    own = logits.gather(1, labels[:, None])[:, 0]
    share = own - torch.logsumexp(logits, dim=1)
    return share.clamp_max(-1e-30).masked_fill(is_unknown, 0.0)


def _similarities(
    x: Tensor, y: Tensor, w: Tensor, sums: Tensor, totals: Tensor, *, is_unit: bool
) -> tuple[Tensor, Tensor]:
    """Compare T rows with all class centres.

    Returns:
        (T, C) products, -inf for classes without rows; (T,) bool, whether a row is alone in its
        class.
    """
    similarity = x @ _centres(sums, totals, is_unit=is_unit).T
    similarity = similarity.masked_fill(totals <= 0, -torch.inf)
    others = sums[y] - x * w[:, None]  # the own class without the row itself
    count = totals[y] - w
    own = (_centres(others, count, is_unit=is_unit) * x).sum(dim=1)
    return similarity.scatter(1, y[:, None], own[:, None]), count <= 1e-6


def _centres(sums: Tensor, totals: Tensor, *, is_unit: bool) -> Tensor:
    """Make centres (C, D) of sums (C, D) of rows with total weights (C,)."""
    if is_unit:
        return functional.normalize(sums, dim=1)
    return sums / totals.clamp_min(1e-6)[:, None]


def estimate_noise_rate(rows: Rows, labels: Tensor, num_classes: int) -> Tensor:
    """Estimates the share of wrong labels by maximum likelihood.

    The model: with probability 1 - e the given label is drawn from the row's softmax share over the
    class centres, with probability e it is any other class, all equally likely:

        p(y_i | x_i) = (1 - e) P_i + e (1 - P_i) / (C - 1)

    e is fitted by expectation maximisation for each softmax scale of a grid, and the scale of the
    highest likelihood wins; fixing the scale instead would take a soft softmax for noise. Each row
    is left out of its own centre. The project's own; exact for symmetric noise.

    Args:
        rows: (N, D) unit norm.
        labels: (N,) int64.
        num_classes: C, at least 2.

    Returns:
        () float in [0, 1].
    """
    return fit_symmetric(rows, labels, num_classes)[0]


def fit_symmetric(rows: Rows, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Fits the model above.

    Returns:
        () float noise rate in [0, 1]; () float softmax scale that goes with it.
    """
    log_p = log_posteriors(rows, labels, every_row(rows), num_classes, _SCALES)
    rate, best = fit_shares(log_p, num_classes)
    return rate, log_p.new_tensor(_SCALES)[best]


def fit_shares(log_p: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Fits the model above to log shares of the given labels, each row of its own scale.

    Args:
        log_p: (S, N), at most 0.
        num_classes: C, at least 2.

    Returns:
        () float noise rate in [0, 1]; () int64 the row of highest likelihood.
    """
    right = log_p.double().exp()  # (S, N)
    wrong = (1 - right) / (num_classes - 1)
    rate = right.new_full((len(log_p), 1), 0.3)
    for _ in range(_EM_STEPS):
        share = rate * wrong / ((1 - rate) * right + rate * wrong).clamp_min(1e-300)
        rate = share.mean(dim=1, keepdim=True)
    likelihood = ((1 - rate) * right + rate * wrong).clamp_min(1e-300).log().mean(dim=1)
    best = likelihood.argmax()
    return rate[best, 0].to(log_p.dtype), best
