"""Lifted structure loss: each positive pair against all negatives of both its rows at once.

    L = 1/(2 |P|) sum_{(i,j) in P} [ scale D_ij + log( sum_{k in N_i} exp(scale (margin - D_ik))
                                                + sum_{k in N_j} exp(scale (margin - D_jk)) ) ]_+^2

D_ij = Euclidean distance of embeddings i and j; P = the positive pairs of the batch, N_i = the
negatives of row i. A pair without a negative is left out. With `form="anchors"` each row competes
for itself, all positives against all negatives,

    L = (1/n) sum_i [ log sum_{k in P_i} exp(scale D_ik)
                    + log sum_{k in N_i} exp(scale (margin - D_ik)) ]_+

over the n rows that have both.

Source: Song, Xiang, Jegelka, Savarese, CVPR 2016, arXiv 1511.06452; the form by anchors is that of
Hermans, Beyer, Leibe 2017, arXiv 1703.07737 (both from memory; formulas and margin as in
pytorch-metric-learning). Departures: the papers have no `scale`; unit vectors
are at most 2 apart, where it makes the sums follow the nearest negatives, and without it the head
ends below the untrained features (16 is our choice, on the Grocery set's val split); a pair weighs
the product of its rows' weights, a negative's weight multiplies its exponential, our choice;
samples are told apart by row number; pairs and rows without negatives do not enter the divisor.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from pipeline.losses import _pairs
from pipeline.program.batch import Batch

SAMPLER = "balanced"
BATCH_SIZE = 64


def loss(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    margin: Annotated[float, "above 0"] = 1.0,
    scale: Annotated[float, "above 0"] = 16.0,
    form: Literal["pairs", "anchors"] = "pairs",
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: none are used.
        batch: B rows.
        margin: distance, above 0, that negatives should exceed ("alpha" in the paper).
        scale: factor of the distances, above 0 (1 in the paper).
        form: "pairs" (published) or "anchors".

    Returns:
        () float; 0, with a gradient of 0, where no positive pair has a negative.
    """
    pairs = _pairs.pairs_of(batch, batch)
    distance = scale * _pairs.distances(pairs.similarity)  # (B, B)
    excess = scale * margin - distance
    repulsion = _pairs.log_sum_exp(excess, pairs.negative, dim=1)  # (B,)
    has_negative = (pairs.negative > 0).any(dim=1)
    if form == "anchors":
        attraction = _pairs.log_sum_exp(distance, pairs.positive, dim=1)
        has_both = has_negative & (pairs.positive > 0).any(dim=1)
        terms = (attraction + repulsion).clamp_min(0)
        return _pairs.anchor_mean(terms, batch.weights * has_both)
    of_both = torch.logaddexp(repulsion[:, None], repulsion[None, :])
    terms = (distance + of_both).clamp_min(0).square() / 2
    has_negatives = has_negative[:, None] & has_negative[None, :]
    weight = batch.weights[:, None] * pairs.positive * has_negatives
    return (weight * terms).sum() / weight.sum().clamp_min(1e-12)
