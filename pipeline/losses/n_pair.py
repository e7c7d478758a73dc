"""N-pair loss: one pair per class, each anchor picks its positive out of all classes' positives.

    L = (1/n) sum_c log( 1 + sum_{k != c} exp( scale (<a_c, p_k> - <a_c, p_c>) ) )

(a_c, p_c) = the one pair of class c in the batch, embeddings of unit norm; c and k run over the n
classes that have two samples. The rest of the batch is not used: `rows_per_class=2` gives the
published batches, in which nothing is left over.

Source: Sohn, NeurIPS 2016 (from memory); formula as in pytorch-metric-learning. Departures: the
paper takes inner products of vectors of any norm and keeps the norms down by a regulariser of
weight 0.002. That form is not possible here, where every embedding has unit norm: these are
cosines, which need a `scale` (4 is our choice, on the Grocery set's val split; at 1, the library's,
the softmax is nearly flat), and there is nothing to regularise. Which two samples of a class are
its pair is not drawn but follows from the row numbers in the batch, mixed so that it changes from
batch to batch (our choice: a loss has no generator, and the order of the rows must not matter). A
pair's term weighs the product of its two rows' weights, a rival positive's weight multiplies its
exponential, our choice.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from pipeline.losses import _pairs
from pipeline.program.batch import Batch

SAMPLER = "balanced"
BATCH_SIZE = 64
_PRIME = 2**31 - 1  # squares of what is below fit int64


def loss(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    scale: Annotated[float, "above 0"] = 4.0,
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: none are used.
        batch: B rows.
        scale: factor of the cosines, above 0 (1 in pytorch-metric-learning).

    Returns:
        () float; 0, with a gradient of 0, where fewer than two classes have a pair.
    """
    is_anchor, partner = choose_pairs(batch)
    similarity = _pairs.pairs_of(batch, batch).similarity  # (B, B)
    weights = batch.weights.to(similarity.dtype)
    logits = scale * similarity[:, partner]  # (B, B): row i, the positive of row j
    is_rival = is_anchor[None, :] & (batch.labels[:, None] != batch.labels[None, :])
    excess = logits - logits.diagonal()[:, None]
    terms = _pairs.log1p_sum_exp(excess, is_rival * weights[partner][None, :], dim=1)
    return _pairs.anchor_mean(terms, weights * weights[partner] * is_anchor)


def choose_pairs(batch: Batch) -> tuple[Tensor, Tensor]:
    """Chooses one pair per class with at least two samples of weight above 0.

    Returns:
        (B,) bool, whether the row is the anchor of its class, and (B,) int64, the place of the
        positive that it would have; meaningless for a row without positives.
    """
    is_there = batch.weights > 0
    total = torch.where(is_there, batch.rows, 0).sum()
    mixed = (batch.rows + 1_000_003 * total) % _PRIME
    turn = mixed * mixed % _PRIME  # (B,) who comes first; equal rows have equal turns
    in_class = (batch.labels[:, None] == batch.labels[None, :]) & is_there[None, :]
    is_positive = in_class & (batch.rows[:, None] != batch.rows[None, :])
    partner = turn.expand_as(in_class).masked_fill(~is_positive, _PRIME).argmin(dim=1)
    first = turn.expand_as(in_class).masked_fill(~in_class, _PRIME).argmin(dim=1)
    is_first = first == torch.arange(len(turn), device=turn.device)
    return is_first & is_there & is_positive.any(dim=1), partner
