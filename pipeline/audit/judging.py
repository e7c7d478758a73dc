"""Judging labels: several sources, one probability, and the class that fits better.

Nothing here knows a true label; nothing of size N x C or N x N is held.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.audit import centres, combination, neighbours, out_of_fold
from pipeline.audit.evidence import OTHERS, Evidence
from pipeline.audit.planting import plant
from pipeline.measures import neighbourhood
from pipeline.measures.copies import first_copies
from pipeline.measures.label_posterior import every_row, fit_symmetric
from pipeline.measures.whitening import whitened
from pipeline.selection._confidence_mlp import assign_folds

SOURCES = ("knn", "centre", "out_of_fold")
Progress = Callable[[int, int], None]
_MOST_NEIGHBOURS = 50
_FOLDS = 10
_STEPS = 3
_PLANTED = 0.1  # of the labels, each time
_ENOUGH = 5000  # rows to learn from; of small sets, in several rounds
_MOST_ROUNDS = 10
_VOTE_SCALE = 10.0


class Judgement(NamedTuple):
    """What is found about N labels.

    Attributes:
        rows: (N, F) unit norm, the space in which they were judged.
        near: the nearest rows of each.
        sources: what each of `SOURCES` says, in this order.
        p_wrong: (N,) float64 in [0, 1].
        suggested: (N,) int64, the other class that fits best.
        own_share: (N,) in [0, 1], mean share of the given class over the sources.
        other_share: (N,) in [0, 1], mean share of the suggested class.
        is_known: (N,) bool, False where no source knows anything.
        model: how the sources were combined.
    """

    rows: Tensor
    near: neighbourhood.Neighbourhood
    sources: tuple[Evidence, ...]
    p_wrong: Tensor
    suggested: Tensor
    own_share: Tensor
    other_share: Tensor
    is_known: Tensor
    model: combination.Model


def judge(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    dynamics: Tensor | None = None,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Judgement:
    """Judge the labels of N rows.

    The sources look twice, the second time without the labels that looked wrong at first. Then they
    do the same with some labels planted wrong, and what they say about these teaches how to combine
    them.

    Args:
        features: (N, F) of any float type, as the backbone gave them; at least two different rows.
        labels: (N,) int64, as given.
        num_classes: C, at least 2; every class has a row.
        dynamics: (N,) in [0, 1], how suspicious a training found each label, NaN = unknown.
        seed: of folds and planted labels.
        progress: is told the finished and the total steps.
    """
    generator = torch.Generator().manual_seed(seed)
    progress(0, _STEPS)
    look = _Look(features, labels, num_classes, generator)
    progress(1, _STEPS)
    sources = look.twice(labels)
    suggested, own_share, other_share = agree(sources)
    # A class has no rival where all others are unknown, as in one fold of two classes: any other.
    suggested = torch.where(suggested < 0, (labels == 0).long(), suggested)
    progress(2, _STEPS)
    suspicion = _mean_suspicion(sources)
    heard, was_planted = [], []
    for _ in range(min(_MOST_ROUNDS, -(-_ENOUGH // len(labels)))):
        planted, is_planted = plant(labels, suggested, suspicion, num_classes, _PLANTED, generator)
        heard.append(_log_odds(look.twice(planted)))
        was_planted.append(is_planted)
    model = combination.fit(torch.cat(heard), torch.cat(was_planted))
    progress(_STEPS, _STEPS)
    evidence = _log_odds(sources)
    log_odds = model.log_odds(evidence)
    if dynamics is not None:
        log_odds = combination.with_dynamics(log_odds, dynamics)
    return Judgement(
        rows=look.rows,
        near=look.near,
        sources=sources,
        p_wrong=log_odds.sigmoid(),
        suggested=suggested,
        own_share=own_share,
        other_share=other_share,
        is_known=~evidence.isnan().all(dim=1),
        model=model,
    )


class _Look:
    """What does not change between one look at the labels and the next."""

    def __init__(
        self, features: Tensor, labels: Tensor, num_classes: int, generator: torch.Generator
    ) -> None:
        first = first_copies(features)
        self.rows = whitened(features)
        self.num_classes = num_classes
        fold = assign_folds(features, labels, _FOLDS, generator)
        self.folds = out_of_fold.folds_of(self.rows, fold)
        count = min(_MOST_NEIGHBOURS, int(labels.bincount().median()))
        self.near = neighbourhood.find(self.rows, first, max(OTHERS, count))
        self.scale = float(fit_symmetric(self.rows, labels, num_classes)[1])
        self.sharpness = out_of_fold.fit_scale(self.rows, labels, self.folds, num_classes)

    def once(self, labels: Tensor, weights: Tensor) -> tuple[Evidence, ...]:
        """Ask all sources about labels (N,), rows counting by weights (N,)."""
        to = labels, weights
        return (
            neighbours.judge(self.near, *to, self.num_classes, scale=_VOTE_SCALE),
            centres.judge(self.rows, *to, self.num_classes, scale=self.scale),
            out_of_fold.judge(self.rows, *to, self.folds, self.num_classes, scale=self.sharpness),
        )

    def twice(self, labels: Tensor) -> tuple[Evidence, ...]:
        """Ask, and ask again with every row counting as little as it looked wrong."""
        found = self.once(labels, every_row(self.rows))
        return self.once(labels, 1 - _mean_suspicion(found))


def agree(sources: tuple[Evidence, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Find the other class on which the sources agree most.

    Returns:
        (N,) int64, that class; (N,) the mean share of the given class; (N,) that of the other.
    """
    classes = torch.cat([each.classes for each in sources], dim=1)  # (N, S M)
    shares = torch.cat([each.shares for each in sources], dim=1)
    same = (classes[:, :, None] == classes[:, None, :]) & (classes >= 0)[:, None, :]
    sums = (same * shares[:, None, :]).sum(dim=2).masked_fill(classes < 0, -1)
    most = sums.argmax(dim=1, keepdim=True)
    own = torch.stack([each.own for each in sources]).mean(dim=0)
    return (
        classes.gather(1, most)[:, 0],
        own,
        sums.gather(1, most)[:, 0].clamp_min(0) / len(sources),
    )


def _log_odds(sources: tuple[Evidence, ...]) -> Tensor:
    return torch.stack([each.log_odds for each in sources], dim=1)


def _mean_suspicion(sources: tuple[Evidence, ...]) -> Tensor:
    """Average what the sources say, (N,) in [0, 1]; 0 where nothing is known."""
    return torch.stack([each.suspicion() for each in sources]).nanmean(dim=0).nan_to_num(0.0)
