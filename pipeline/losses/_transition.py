"""How labels turn wrong: the likelihood of given labels, and the transition matrix behind it.

P_kj = p(given label j | right label k), rows sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from cache.errors import InputError
from pipeline.measures.label_posterior import log_posteriors, tiles
from pipeline.measures.transition import MOST_CLASSES

_SCALES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0)
_LEAST = 1e-7  # no entry is smaller: a label that cannot occur would have a loss of infinity


def log_likelihood_symmetric(logits: Tensor, labels: Tensor, noise_rate: Tensor) -> Tensor:
    """Computes log sum_k p_k P_{k,y} for symmetric noise, without the matrix.

        P_kk = 1 - e, P_kj = e / (C - 1):   log(p_y (1 - e) + (1 - p_y) e / (C - 1))

    By log-softmax, 1 - p_y as the sum of the others, so it is exact for p_y near 0 and near 1.

    Args:
        logits: (B, C).
        labels: (B,) int64, as given.
        noise_rate: () e in [0, 1).

    Returns:
        (B,) at most 0.
    """
    log_p = logits.log_softmax(dim=1)
    num_classes = logits.shape[1]
    is_given = torch.arange(num_classes, device=labels.device) == labels[:, None]  # (B, C)
    given = log_p.gather(1, labels[:, None])[:, 0]
    # Not -inf: with one class there are no others, and the gradient would be NaN.
    others = log_p.masked_fill(is_given, torch.finfo(log_p.dtype).min).logsumexp(dim=1)
    other_rate = noise_rate / max(num_classes - 1, 1)
    return torch.logaddexp(given + torch.log1p(-noise_rate), others + other_rate.log())


def log_likelihood(logits: Tensor, labels: Tensor, transition: Tensor) -> Tensor:
    """Computes log sum_k p_k P_{k,y} for a matrix P (C, C); arguments and result as above."""
    log_p = logits.log_softmax(dim=1)
    return (log_p + transition.T[labels].log()).logsumexp(dim=1)


def from_anchors(rows: Tensor, labels: Tensor, num_classes: int, percentile: float) -> Tensor:
    """Takes P from one anchor a class, the published rule: P_k. = p(. | x_k).

    x_k = the row at a percentile (nearest rank) of p(k | x) among all rows; p as in `log_shares`. A
    class without rows has a row of P that is 1 for itself.

    Args:
        rows: (N, F) unit norm.
        labels: (N,) int64, as given.
        num_classes: C.
        percentile: above 0, at most 100.

    Returns:
        (C, C) rows sum to 1.

    Raises:
        InputError: too many classes for a matrix.
    """
    _refuse_many(num_classes)
    log_p = torch.cat([part for part, _, _ in log_shares(rows, labels, num_classes)])  # (N, C)
    rank = max(1, math.ceil(percentile / 100 * len(rows) - 1e-6))
    anchors = log_p.kthvalue(rank, dim=0).indices  # (C,)
    return _normalised(log_p[anchors].exp(), labels.bincount(minlength=num_classes) > 0)


def from_shares(rows: Tensor, labels: Tensor, num_classes: int, percentile: float) -> Tensor:
    """Takes P from the labels of the rows that are most surely of a class.

        P_kj = share of label j among the rows with p(k | x) >= t_k

    p as in `log_shares`. t_k is the `percentile` of p(k | x) among the rows labelled k. A class
    with fewer than two rows has no such t: its row of P is 1 for itself. Arguments, result and
    errors are those of `from_anchors`.
    """
    _refuse_many(num_classes)
    parts = list(log_shares(rows, labels, num_classes))
    own = torch.cat([part.gather(1, y[:, None])[:, 0] for part, y, _ in parts])
    # A row alone in its class is unknown; none of its class passes then.
    is_unknown = torch.cat([unknown for _, _, unknown in parts])
    least = thresholds(own.masked_fill(is_unknown, torch.inf), labels, num_classes, percentile)
    counts = torch.zeros(num_classes, num_classes, dtype=rows.dtype, device=rows.device)
    for log_p, y, _ in parts:
        row, of_class = (log_p >= least).nonzero(as_tuple=True)
        ones = torch.ones_like(row, dtype=rows.dtype)
        counts.index_put_((of_class, y[row]), ones, accumulate=True)
    return _normalised(counts / counts.sum(dim=1, keepdim=True), torch.isfinite(least))


def log_shares(
    rows: Tensor, labels: Tensor, num_classes: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Computes log p(k | x), T rows at a time.

    The softmax over the class centres of the rows, each row left out of its own centre, at the
    scale under which the given labels are most likely: a classifier that no row has trained for
    itself (our choice; the paper trains a network on the same rows).

    Yields:
        (T, C) log p; (T,) the rows' labels; (T,) bool, whether a row is alone in its class.
    """
    weights = torch.ones_like(rows[:, 0])
    logs = log_posteriors(rows, labels, weights, num_classes, _SCALES)  # (S, N)
    scale = _SCALES[int(logs.mean(dim=1).argmax())]
    for similarity, y, is_unknown in tiles(rows, labels, weights, num_classes):
        yield (scale * similarity).log_softmax(dim=1), y, is_unknown


def _refuse_many(num_classes: int) -> None:
    if num_classes > MOST_CLASSES:
        raise InputError(
            f"a transition matrix holds a number for each pair of classes: got {num_classes} "
            f"classes, expected at most {MOST_CLASSES}; use --set loss.transition=symmetric"
        )


def _normalised(shares: Tensor, is_known: Tensor) -> Tensor:
    """Makes rows of at least 1e-7 that sum to 1, of classes that are not known 1 for themselves."""
    itself = torch.eye(len(shares), dtype=shares.dtype, device=shares.device)
    shares = torch.where(is_known[:, None], shares, itself).clamp_min(_LEAST)
    return shares / shares.sum(dim=1, keepdim=True)


def thresholds(scores: Tensor, labels: Tensor, num_classes: int, percentile: float) -> Tensor:
    """Finds for each class the score at a percentile (nearest rank) of the scores of its rows.

    Args:
        scores: (N,) how surely each row is of the class that it is labelled with.
        labels: (N,) int64.
        num_classes: C.
        percentile: above 0, at most 100.

    Returns:
        (C,) of the dtype of `scores`; inf for a class without rows.
    """
    order = scores.argsort(stable=True)
    order = order[labels[order].argsort(stable=True)]  # by class, within it by score
    sizes = labels.bincount(minlength=num_classes)
    rank = (percentile / 100 * sizes - 1e-6).ceil().long().clamp_min(1)
    place = (sizes.cumsum(0) - sizes + rank - 1).clamp_max(len(labels) - 1)
    return torch.where(sizes > 0, scores[order[place]], torch.inf)
