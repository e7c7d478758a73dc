"""Co-teaching+: co-teaching among the rows on which two heads disagree.

During the first warmup_epochs epochs this is `co-teaching`. Afterwards only those rows of a batch
may be picked for which the two heads predict different classes; of the n of them each head picks
the int((1 - f) n) of smallest loss, at least one, for the other: heads that learn from the same
rows become one. A batch on which both agree throughout is exchanged as in `co-teaching`. f, the
losses that can be used and the result are those of `co-teaching`.

Source: Yu, Han, Yao, Niu, Tsang, Sugiyama, ICML 2019, arXiv 1901.04215 (from memory), and the
authors' released code, which warms up for 0 to 100 of its 200 epochs. Departures, our choice: the
warm-up ends when the full share is dropped, after 10 epochs, as a head on frozen features learns
fast; cross-entropy takes scores (the code's takes softmax outputs, softmax upon softmax); no row is
left out for its number (the code loses row 0); without disagreement the exchange goes on among all
rows (the code then learns from all of them, wrong labels included); and those of `co-teaching`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from pipeline.program.batch import Batch
from pipeline.program.rows import Rows
from pipeline.selection import _small_loss
from pipeline.selection._state import State

HEADS = 2


def start(
    features: Rows,
    labels: Tensor,
    num_classes: int,
    generator: torch.Generator,
    *,
    noise_rate: Annotated[float, "at least 0, at most 1"] | Literal["auto"] = "auto",
) -> State:
    """Trusts every row, and estimates the noise rate if nobody says it.

    Args:
        features: (N, F) centred, used for the estimate only.
        labels: (N,) int64, as given.
        num_classes: C.
        generator: not used.
        noise_rate: share of a batch's candidates that is dropped in the end, in [0, 1], or "auto".
    """
    state = _small_loss.begin(features, labels, num_classes, noise_rate)
    is_warm = torch.zeros_like(state.noise_rate, dtype=torch.bool)
    return state._replace(extras={**state.extras, "is_warm": is_warm})


def turn(
    state: State,
    epoch: int,
    *,
    warmup_epochs: Annotated[int, "at least 0"] = 10,
    ramp_epochs: Annotated[int, "at least 0"] = 10,
    exponent: Annotated[float, "above 0"] = 1.0,
) -> State:
    """Sets the share that is dropped in this epoch, and whether only disagreement counts.

    Args:
        state: from `start`.
        epoch: from 0.
        warmup_epochs: epochs of plain co-teaching, at least 0.
        ramp_epochs: epochs until the full share is dropped, at least 0.
        exponent: of the noise rate during the ramp, above 0.
    """
    forget = _small_loss.forget_rate(state.noise_rate, epoch, ramp_epochs, exponent)
    is_warm = torch.full_like(state.extras["is_warm"], epoch >= warmup_epochs)
    return state._replace(extras={"forget_rate": forget, "is_warm": is_warm})


def exchange(state: State, batch: Batch, logits: Tensor) -> tuple[Tensor, State]:
    """Lets each head pick the other one's rows among the candidates: see `_small_loss.exchange`."""
    present = batch.weights > 0
    predicted = logits.argmax(dim=2)  # (2, B)
    disputed = present & (predicted[0] != predicted[1])
    is_restricted = state.extras["is_warm"] & disputed.any()
    candidates = torch.where(is_restricted, disputed, present)
    return _small_loss.exchange(state, batch, logits, candidates)
