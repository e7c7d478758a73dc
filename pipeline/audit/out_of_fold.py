"""Out-of-fold confidence: what does a classifier say that has not seen the row or its copies?

A linear discriminant: the rows are compared with the class means of the other folds in the metric
of the inverse covariance of these folds. It has a closed form, so ten folds take seconds where a
trained classifier takes minutes; and as it goes by the means of classes, it does not learn single
wrong labels by heart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.audit.evidence import Evidence, joined, of_logits
from pipeline.measures.label_posterior import class_sums, fit_shares, own_log_share

_TILE = 4096
_RIDGE = 1.0  # added to the covariance, whose mean variance is 1
_SCALES = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
_NOBODY = 1e-4  # weight of a class below which its other rows are none but rounding
_LEAST_ROWS = 3  # of a class: with two images one would judge the other


class Fold(NamedTuple):
    """Rows that are judged together, and the metric of all others.

    Attributes:
        rows: (n,) int64.
        factor: (F, F) Cholesky factor of the others' covariance; labels do not enter it.
    """

    rows: Tensor
    factor: Tensor


def folds_of(rows: Tensor, fold: Tensor) -> list[Fold]:
    """Factor the covariance of the rows outside each fold.

    Args:
        rows: (N, F) unit norm.
        fold: (N,) int64, the fold of each row; copies share one.
    """
    found = []
    products = rows.T @ rows
    for number in torch.unique(fold).tolist():
        inside = torch.where(fold == number)[0]
        others = products - rows[inside].T @ rows[inside]
        found.append(Fold(inside, torch.linalg.cholesky(_regularised(others))))
    return found


def judge(
    rows: Tensor,
    labels: Tensor,
    weights: Tensor,
    folds: list[Fold],
    num_classes: int,
    *,
    scale: float,
) -> Evidence:
    """Judge every row by the discriminant of the other folds.

    Args:
        rows: (N, F) unit norm.
        labels: (N,) int64.
        weights: (N,) in [0, 1], how much each row counts in its class's mean.
        folds: of the same rows.
        num_classes: C.
        scale: of the softmax over the discriminants, above 0.
    """
    is_rare = (labels.bincount(minlength=num_classes) < _LEAST_ROWS)[labels]
    order, parts = [], []
    for part, logits in discriminants(rows, labels, weights, folds, num_classes):
        order.append(part)
        unknown = is_rare[part] | logits.gather(1, labels[part, None])[:, 0].isinf()
        parts.append(of_logits(scale * logits, labels[part], unknown))
    back = torch.cat(order).argsort()
    return Evidence(*(each[back] for each in joined(parts)))


def fit_scale(rows: Tensor, labels: Tensor, folds: list[Fold], num_classes: int) -> float:
    """Find the scale of the softmax with which the given labels are most likely.

    A share of them may be wrong, see `label_posterior.estimate_noise_rate`.
    """
    shares = []
    weights = torch.ones_like(rows[:, 0])
    for part, logits in discriminants(rows, labels, weights, folds, num_classes):
        y = labels[part]
        is_unknown = logits.gather(1, y[:, None])[:, 0].isinf()
        known = logits[~is_unknown], y[~is_unknown], is_unknown[~is_unknown]
        shares.append(
            torch.stack([own_log_share(scale * known[0], *known[1:]) for scale in _SCALES])
        )
    return _SCALES[int(fit_shares(torch.cat(shares, dim=1), num_classes)[1])]


def discriminants(
    rows: Tensor, labels: Tensor, weights: Tensor, folds: list[Fold], num_classes: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Compute x' A m - m' A m / 2 with the means m and the inverse covariance A of other folds.

    Yields:
        (T,) row numbers; (T, C) discriminants, -inf for classes that the other folds lack.
    """
    sums = class_sums(rows, labels, weights, num_classes)  # (C, F)
    counts = weights.new_zeros(num_classes).index_add(0, labels, weights)
    for inside, factor in folds:
        y, w = labels[inside], weights[inside]
        count = counts.index_add(0, y, -w)
        means = sums - class_sums(rows[inside], y, w, num_classes)
        means = means / count.clamp_min(_NOBODY)[:, None]
        turned = torch.cholesky_solve(means.T, factor)  # (F, C)
        offset = (means.T * turned).sum(dim=0) / 2
        offset = offset.masked_fill(count <= _NOBODY, torch.inf)
        for part in torch.split(inside, _TILE):
            yield part, rows[part] @ turned - offset


def _regularised(products: Tensor) -> Tensor:
    """Bring a covariance to mean variance 1 and draw it towards the identity."""
    mean = products.diagonal().mean()
    matrix: Tensor = products / mean + _RIDGE * torch.eye(len(products), device=products.device)
    return matrix / (1 + _RIDGE)
