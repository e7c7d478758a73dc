"""Small-loss exchange: each of two heads picks the rows that the other learns from."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.program.batch import Batch
from pipeline.program.rows import Rows, changed
from pipeline.selection import _ranking
from pipeline.selection._state import State, keep_everything, note


def begin(features: Rows, labels: Tensor, num_classes: int, noise_rate: float | str) -> State:
    """Trusts every row and drops none yet; `noise_rate` is as in `_ranking.rate_of`."""
    rows = changed(features, functional.normalize)
    rate = _ranking.rate_of(noise_rate, rows, labels, num_classes)
    return keep_everything(labels)._replace(
        noise_rate=rate, extras={"forget_rate": torch.zeros_like(rate)}
    )


def forget_rate(noise_rate: Tensor, epoch: int, ramp_epochs: int, exponent: float) -> Tensor:
    """Computes the share of a batch that is dropped in an epoch.

    As in the published code: linspace(0, noise_rate^exponent, ramp_epochs)[epoch] for epoch <
    ramp_epochs, then noise_rate. With an exponent other than 1 it jumps after the ramp.

    Args:
        noise_rate: () in [0, 1].
        epoch: from 0.
        ramp_epochs: at least 0.
        exponent: above 0.
    """
    if epoch >= ramp_epochs:
        return noise_rate
    return noise_rate**exponent * (epoch / max(ramp_epochs - 1, 1))


def exchange(
    state: State, batch: Batch, logits: Tensor, candidates: Tensor
) -> tuple[Tensor, State]:
    """Weighs the batch for both heads.

    The state notes for each row that is present its latest mean probability of the given label, and
    whether the first head was given it.

    Args:
        state: with the "forget_rate" in its extras.
        batch: B rows.
        logits: (2, B, C) of the two heads.
        candidates: (B,) bool, the rows that may be picked.

    Returns:
        (2, B) weights for the loss of each head, and the state.
    """
    losses = torch.stack([cross_entropies(of_head, batch.labels) for of_head in logits])  # (2, B)
    forget = state.extras["forget_rate"]
    picks = torch.stack([smallest(of_head, candidates, forget) for of_head in losses])
    given = picks.flip(0)  # each head learns from what the other one picked
    present = batch.weights > 0
    state = state._replace(
        weights=note(state.weights, batch.rows, present, given[0]),
        scores=note(state.scores, batch.rows, present, (-losses).exp().mean(dim=0)),
    )
    return batch.weights * given, state


def cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """Computes -log softmax(logits_i)[y_i] of logits (B, C) and labels (B,): (B,) at least 0."""
    return -logits.log_softmax(dim=1).gather(1, labels[:, None])[:, 0]


def smallest(losses: Tensor, candidates: Tensor, forget_rate: Tensor) -> Tensor:
    """Marks the int((1 - forget_rate) * n) candidates of smallest loss, at least one if n > 0.

    Of equal losses the earlier row is taken first.

    Args:
        losses: (B,) float.
        candidates: (B,) bool, n of them True.
        forget_rate: () float in [0, 1].

    Returns:
        (B,) bool.
    """
    # The tolerance keeps 0.7 * 10 from being truncated to 6.
    count = ((1 - forget_rate) * candidates.sum() + 1e-4).floor().clamp_min(1)
    rank = torch.where(candidates, losses, torch.inf).argsort(stable=True).argsort()
    return candidates & (rank < count)
