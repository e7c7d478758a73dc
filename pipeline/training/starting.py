"""Heads that begin at a closed form, and proxies that begin at the means of their classes.

    W = sqrt(2 tr(T) / tr(A' T A)) A,   p_c = u(sum of w_i u(W' x_i) over the rows i labelled c)

A = the form's weight (F, D'), from the training rows as the selection weighs them at the start;
T = covariance of the rows; u = to unit norm; w_i = the row's weight, at least 1e-6, so that a class
without any weight begins at all its rows. The scale is that of a drawn head, whose outputs have
2 tr(T) for their mean square: a learning rate means the same. Adam moves an entry by up to the rate
in a step, and entries are near sqrt(2/D), so at the usual rate some twenty steps can leave nothing
of a start; where it should only be improved on, the rate has to be a fraction of that.

What is drawn for a random start is drawn here too and serves as noise: a hundredth of it in the
columns that the form does not fill (at 0 a proxy loss would never move them), a tenth of it between
several centres of one class, and a tenth of it on the second of two heads, which would otherwise
pick the same rows and remain equal (our choices). The branch of a residual head is drawn; its last
layer begins at 0, so such a head begins at the form, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.choices import catalogue
from pipeline.choices.settings import Settings
from pipeline.choices.starts import RANDOM, form_of
from pipeline.closed_forms._statistics import Member, Statistics
from pipeline.program import heads, trees
from pipeline.program.learner import Learner, Start, Tensors
from pipeline.program.rows import Rows, tiles
from pipeline.training.closed_form import members_of, statistics_of

_SPARE, _APART = 0.01, 0.1  # of what is drawn
_LEAST = 1e-6  # of a row's weight in the mean of its class
_PROXIES = frozenset({"proxies", "centres", "weight"})  # what losses call a vector for each class

Form = Callable[[Statistics, int], Tensor]


def start_of(settings: Settings) -> Start | None:
    """Say where a run begins; None = where it is drawn."""
    if settings.start == RANDOM:
        return None
    name, options = form_of(settings.start)
    return partial(_started, partial(catalogue.find("closed_forms", name).load().fit, **options))


@torch.no_grad()
def _started(form: Form, features: Rows, learner: Learner) -> tuple[Tensors, Tensors]:
    """Compute what a run begins with, in place of what was drawn for it.

    Args:
        form: from statistics and D to a weight (F, D'), D' at most D.
        features: (N, F) transformed.
        learner: as it was drawn, with its selection's first look.

    Returns:
        The head and what the loss learns, in the shapes in which they were drawn.
    """
    task = learner.task
    weight = _computed(form, features, learner)
    own, *others = members_of(task.labels, learner.state)
    members = [own._replace(weights=own.weights.clamp_min(_LEAST)), *others]

    def one(drawn: Tensors, learned: Tensors, noise: float) -> tuple[Tensors, Tensors]:
        head = {**drawn, "weight": _filled(weight, drawn["weight"], noise)}
        return head, _at_means(learned, class_means(head, features, members, task.num_classes))

    if task.method.num_heads == 1:
        return one(learner.head, learner.learned, 0.0)
    drawn = learner.head, learner.learned
    numbers = range(task.method.num_heads)
    return trees.stack([one(*trees.take(drawn, each), each * _APART) for each in numbers])


def _computed(form: Form, features: Rows, learner: Learner) -> Tensor:
    """Compute the form's weight (F, D'), scaled as a drawn head would be."""
    task = learner.task
    statistics = statistics_of(features, task.labels, learner.state, task.num_classes)
    weight = form(statistics, task.schedule.dim)
    spread = (weight * (statistics.total @ weight)).sum()
    scale = (2 * statistics.total.trace() / spread).sqrt()
    weight = torch.where(spread > 0, weight * scale, weight)
    return statistics.in_features(weight).to(features.device)


def _filled(weight: Tensor, drawn: Tensor, noise: float) -> Tensor:
    """Fill up a weight (F, D') to (F, D) with a little of what was drawn, and add noise."""
    spare = drawn[:, weight.shape[1] :]
    return torch.cat([weight, _SPARE * spare], dim=1) + noise * drawn


def class_means(
    head: Tensors, features: Rows, members: Sequence[Member], num_classes: int
) -> Tensor:
    """Average the embeddings of each class, in one pass.

    Args:
        head: its tensors, see `pipeline.program.heads`.
        features: (N, F) transformed.
        members: who belongs to which class, and how much.
        num_classes: C.

    Returns:
        (C, D) unit norm; 0 for a class without rows.
    """
    # Apple's devices have no float64.
    device = torch.device("cpu") if features.device.type == "mps" else features.device
    size = num_classes, head["weight"].shape[1]
    sums, at = torch.zeros(size, dtype=torch.float64, device=device), 0
    with closing(tiles(features)) as parts:
        for tile in parts:
            rows, part = heads.embed(head, tile).to(sums), slice(at, at + len(tile))
            for labels, weights in members:
                weighted = rows * weights[part, None].to(sums)
                sums.index_add_(0, labels[part].to(device), weighted)
            at += len(tile)
    return functional.normalize(sums, dim=1).float().to(features.device)


def _at_means(learned: Tensors, means: Tensor) -> Tensors:
    """Begin a vector for each class, or several, at the class's mean; leave all else as drawn."""
    num_classes, dim = means.shape
    return {
        name: _placed(value, means)
        if name in _PROXIES and (value.shape[0], value.shape[-1]) == (num_classes, dim)
        else value
        for name, value in learned.items()
    }


def _placed(drawn: Tensor, means: Tensor) -> Tensor:
    """Put means (C, D) in the place of (C, D), or about that of (C, K, D); some may be 0."""
    if drawn.ndim == 3:
        apart = _APART * functional.normalize(drawn, dim=2)
        return functional.normalize(means[:, None] + apart, dim=2)
    return torch.where(means.any(dim=1, keepdim=True), means, drawn)
