"""What a selection knows about the training rows of one run."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.program.batch import Batch

DOUBTFUL = 0.5  # a row of less weight counts as taken for wrong, where one has to say yes or no


class State(NamedTuple):
    """A selection's knowledge, one entry per training row.

    Attributes:
        weights: (N,) float in [0, 1], how much each row counts; 0 = taken for wrongly labelled.
        scores: (N,) float in [0, 1], how likely each given label is right; low = suspicious.
        noise_rate: () float, the share of wrong labels that was given or estimated; NaN = unknown.
        extras: further tensors of this selection.
    """

    weights: Tensor
    scores: Tensor
    noise_rate: Tensor
    extras: dict[str, Tensor]


def keep_everything(labels: Tensor) -> State:
    """Trusts every row."""
    ones = torch.ones(len(labels), device=labels.device)
    return State(ones, ones, torch.full_like(ones[0], torch.nan), {})


def weigh(state: State, batch: Batch) -> Batch:
    """Multiplies each batch row's weight with what the state says of that row."""
    return batch._replace(weights=batch.weights * state.weights[batch.rows])


def note(known: Tensor, rows: Tensor, present: Tensor, values: Tensor) -> Tensor:
    """Writes what a batch has shown of its rows into what is known of all rows.

    Args:
        known: (N,) float.
        rows: (B,) int64 row numbers; no two present ones are equal.
        present: (B,) bool; the others leave no trace.
        values: (B,) float or bool.

    Returns:
        (N,) of the dtype of `known`.
    """
    # Rows that are absent from the batch write to a spare place behind the others.
    place = torch.where(present, rows, known.shape[0])
    spare = torch.cat([known, known[:1]])
    return spare.index_copy(0, place, values.to(known.dtype))[: known.shape[0]]


def drop_lowest(scores: Tensor, noise_rate: Tensor) -> Tensor:
    """Gives weight 0 to the int(noise_rate * N) rows of lowest score and 1 to the others.

    Of equal scores the earlier row goes first, so exactly that many rows are dropped.

    Args:
        scores: (N,) float.
        noise_rate: () float in [0, 1].
    """
    rank = scores.argsort(stable=True).argsort()
    # The tolerance keeps 0.3 * 10 from being truncated to 2.
    dropped = (noise_rate * scores.shape[0] + 1e-4).floor()
    return (rank >= dropped).to(scores.dtype)
