"""PRISM with von Mises-Fisher classes: the softmax scale is the concentration of the data.

Each class is a von Mises-Fisher density on the unit sphere, all classes equally likely:

    P_i = c(kappa_y) exp(kappa_y mu_y . x_i) / sum_k c(kappa_k) exp(kappa_k mu_k . x_i),   y = y_i

with x_i the unit-norm row, mu_k the unit-norm mean of the rows labelled k (without row i itself),
kappa_k estimated from the length of that mean, and c the normaliser (`_von_mises_fisher`). With
"shared" concentration every class has the median kappa: c cancels, and P is that of `prism` at the
scale kappa. In many dimensions kappa reaches hundreds and P underflows, so a row's score is
P^(1 / kappa) (with "class", kappa = the median), which ranks alike and lies in [0, 1]; in training
scores are blended as in `prism`:

    log s = (1 - h) log s_features + h log s_head,   h growing from 0 to `head_share`

The noise_rate * N rows of lowest score get weight 0; then centres and concentrations are formed
again from the kept rows, `passes` times in all. A row alone in its class is kept.

Source: the journal version of PRISM (vMF-Sim), arXiv 2108.01431; its formulas are from memory.
Departures, our choice: the shared median concentration (the paper fits one per class; sharing found
more wrong labels at every noise we measured), the tempered score, and those of `prism`: all rows
instead of a queue, one quantile, leave-one-out centres, the blend, noise_rate "auto".
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.measures import label_posterior
from pipeline.program.batch import Batch
from pipeline.program.rows import Rows, changed
from pipeline.selection import _ranking, _von_mises_fisher
from pipeline.selection._state import State, weigh


def start(
    features: Rows,
    labels: Tensor,
    num_classes: int,
    generator: torch.Generator,
    *,
    noise_rate: Annotated[float, "at least 0, at most 1"] | Literal["auto"] = "auto",
    concentration: Literal["shared", "class"] = "shared",
    passes: Annotated[int, "at least 1"] = 2,
) -> State:
    """Scores all rows in the space of the frozen features.

    Args:
        features: (N, F) centred.
        labels: (N,) int64, as given.
        num_classes: C.
        generator: not used.
        noise_rate: share of rows to drop, in [0, 1], or "auto" to estimate it.
        concentration: "shared" gives all classes the median kappa, "class" each its own.
        passes: how often centres are formed, at least 1; from the second time on from kept rows.
    """
    rows = changed(features, functional.normalize)
    rate = _ranking.rate_of(noise_rate, rows, labels, num_classes)
    return _ranking.begin(_score(rows, labels, num_classes, rate, concentration, passes), rate)


def refresh(
    state: State,
    embeddings: Tensor,
    labels: Tensor,
    num_classes: int,
    progress: float,
    *,
    concentration: Literal["shared", "class"] = "shared",
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
        concentration: as in `start`.
        passes: as in `start`.
        head_share: the head's part in log s at the end of training, in [0, 1].
    """
    share = head_share * progress
    if share == 0:
        return state
    logs = _score(embeddings, labels, num_classes, state.noise_rate, concentration, passes)
    return _ranking.blend(state, logs, share)


def select(state: State, batch: Batch) -> tuple[Batch, State]:
    """Weighs the batch's rows as all rows were weighed at the start of the epoch."""
    return weigh(state, batch), state


def _log_scores(
    rows: Rows, labels: Tensor, weights: Tensor, num_classes: int, *, is_shared: bool
) -> Tensor:
    """Computes log s for unit rows (N, F), their centres formed with weights (N,): (N,) float.

    Below 0; exactly 0 for rows that are alone in their class.
    """
    totals = weights.new_zeros(num_classes).index_add(0, labels, weights)  # (C,)
    sums = label_posterior.sums_of_all(rows, labels, weights, num_classes)  # (C, F)
    lengths = sums.norm(dim=1) / totals.clamp_min(1e-12)
    kappa = _von_mises_fisher.concentrations(lengths, totals, rows.shape[1], is_shared=is_shared)
    offset = _von_mises_fisher.log_normaliser(kappa, rows.shape[1])
    offset = (offset - offset.max()).to(rows.dtype)  # (C,), free of what all classes share
    parts = []
    for similarity, y, is_unknown in label_posterior.tiles(rows, labels, weights, num_classes):
        logits = kappa * similarity + offset
        parts.append(label_posterior.own_log_share(logits, y, is_unknown))
    return torch.cat(parts) / kappa.median()


def _score(
    rows: Rows, labels: Tensor, num_classes: int, rate: Tensor, concentration: str, passes: int
) -> Tensor:
    is_shared = concentration == "shared"

    def score(weights: Tensor) -> Tensor:
        return _log_scores(rows, labels, weights, num_classes, is_shared=is_shared)

    return _ranking.in_passes(score, label_posterior.every_row(rows), rate, passes)
