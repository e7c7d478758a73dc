"""Co-teaching: two heads, each learns from the rows on which the other one's loss is small.

Both heads see the same batch. Each ranks its rows by its own cross-entropy and picks the
int((1 - f) n) of n rows whose loss is smallest, at least one; the other head learns from these. A
row that was wrongly picked by one head is so filtered anew by the other. With tau the noise rate,

    f = linspace(0, tau^exponent, ramp_epochs)[epoch] in the first ramp_epochs epochs, then tau

Needs a loss that is a classifier: `softmax` (the recipe `co-teaching`), or `normalized-softmax`
("Co-teaching with temperature", `co-teaching-t`), which suits retrieval. The run's result is the
first head.

Source: Han, Yao, Yu, Niu, Xu, Hu, Tsang, Sugiyama, NeurIPS 2018, arXiv 1804.06872 (from memory),
and the authors' released code, whose schedule this is, its jump at an exponent other than 1
included. Departures, our choice: the loss is averaged over the picked rows once, where the code
divides by their number twice; at least one row is picked; the noise rate can be estimated ("auto")
from the frozen features; the optimiser is that of every run. The heads see the same features, so
they differ by their start alone.
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
        noise_rate: share of a batch that is dropped in the end ("tau"), in [0, 1], or "auto".
    """
    return _small_loss.begin(features, labels, num_classes, noise_rate)


def turn(
    state: State,
    epoch: int,
    *,
    ramp_epochs: Annotated[int, "at least 0"] = 10,
    exponent: Annotated[float, "above 0"] = 1.0,
) -> State:
    """Sets the share that is dropped in this epoch.

    Args:
        state: from `start`.
        epoch: from 0.
        ramp_epochs: epochs until the full share is dropped, at least 0 ("T_k" in the paper).
        exponent: of the noise rate during the ramp, above 0 ("c" in the paper).
    """
    forget = _small_loss.forget_rate(state.noise_rate, epoch, ramp_epochs, exponent)
    return state._replace(extras={"forget_rate": forget})


def exchange(state: State, batch: Batch, logits: Tensor) -> tuple[Tensor, State]:
    """Lets each head pick the other one's rows: see `_small_loss.exchange`."""
    return _small_loss.exchange(state, batch, logits, batch.weights > 0)
