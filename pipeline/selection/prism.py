"""PRISM on all rows at once: drops the rows whose class centre explains them worst.

Each row's probability of carrying the right label is a softmax over the class centres,

    P_i = exp(s c(y_i) . x_i) / sum_k exp(s c(k) . x_i)

with x_i the unit-norm row and c(k) the mean of the rows labelled k, without row i itself: of unit
norm, or raw. c(k) . x_i with raw means is the average cosine of row i to the rows of class k.
A row that is alone in its class has P = 1 ("unknown"). The int(noise_rate * N) rows of lowest P get
weight 0. Centres are then formed again from the kept rows only (as PRISM's bank holds kept rows
only), `passes` times in all.

Before training P comes from the frozen features; during training it is blended with P in the head's
space: log P = (1 - h) log P_features + h log P_head, h growing from 0 to `head_share`.

Source: Liu et al., CVPR 2021, arXiv 2103.16047, eq. 1-7. Departures, all our choice: the bank is
every training row instead of a queue; centres have unit norm and the softmax a scale (the paper
uses raw means and scale 1: `centres=raw`, `scale=1`, `passes=1` give its score on all rows, and
`prism-queue` its whole form); one quantile over all rows replaces the smoothed batch threshold;
leave-one-out centres, for no crop or flip sets a row apart from its own stored features; the blend;
and noise_rate can be estimated ("auto", see `estimate_noise_rate`) where the paper gives it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.measures import label_posterior
from pipeline.program.batch import Batch
from pipeline.program.rows import Rows, changed
from pipeline.selection import _ranking
from pipeline.selection._state import State, weigh


def start(
    features: Rows,
    labels: Tensor,
    num_classes: int,
    generator: torch.Generator,
    *,
    noise_rate: Annotated[float, "at least 0, at most 1"] | Literal["auto"] = "auto",
    centres: Literal["unit", "raw"] = "unit",
    scale: Annotated[float, "above 0"] = 16.0,
    passes: Annotated[int, "at least 1"] = 2,
) -> State:
    """Scores all rows in the space of the frozen features.

    Args:
        features: (N, F) centred.
        labels: (N,) int64, as given.
        num_classes: C.
        generator: not used.
        noise_rate: share of rows to drop, in [0, 1], or "auto" to estimate it.
        centres: "unit" brings class means to unit norm, "raw" leaves them as in the paper, where
            classes that spread more have shorter ones.
        scale: softmax scale, above 0; the paper has 1.
        passes: how often centres are formed, at least 1; from the second time on from kept rows.
    """
    rows = changed(features, functional.normalize)
    rate = _ranking.rate_of(noise_rate, rows, labels, num_classes)
    log_p = _score(rows, labels, num_classes, rate, centres, scale, passes)
    return _ranking.begin(log_p, rate)


def refresh(
    state: State,
    embeddings: Tensor,
    labels: Tensor,
    num_classes: int,
    progress: float,
    *,
    centres: Literal["unit", "raw"] = "unit",
    scale: Annotated[float, "above 0"] = 16.0,
    passes: Annotated[int, "at least 1"] = 2,
    head_share: Annotated[float, "at least 0, at most 1"] = 0.5,
) -> State:
    """Scores all rows anew, blended with their scores in the head's space.

    Args:
        state: from `start`.
        embeddings: (N, D) unit norm.
        labels: (N,) int64, as given.
        num_classes: C.
        progress: share of the training that is done, in [0, 1].
        centres: as in `start`.
        scale: as in `start`.
        passes: as in `start`.
        head_share: the head's part in log P at the end of training, in [0, 1].
    """
    share = head_share * progress
    if share == 0:
        return state
    log_p = _score(embeddings, labels, num_classes, state.noise_rate, centres, scale, passes)
    return _ranking.blend(state, log_p, share)


def select(state: State, batch: Batch) -> tuple[Batch, State]:
    """Weighs the batch's rows as all rows were weighed at the start of the epoch."""
    return weigh(state, batch), state


def _score(
    rows: Rows,
    labels: Tensor,
    num_classes: int,
    rate: Tensor,
    centres: str,
    scale: float,
    passes: int,
) -> Tensor:
    is_unit = centres == "unit"

    def score(weights: Tensor) -> Tensor:
        found = label_posterior.log_posteriors(
            rows, labels, weights, num_classes, (scale,), is_unit=is_unit
        )
        return found[0]

    return _ranking.in_passes(score, label_posterior.every_row(rows), rate, passes)
