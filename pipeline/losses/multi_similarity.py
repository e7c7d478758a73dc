"""Multi-Similarity loss with its mining: weighs each pair by itself and by its rivals.

Mining keeps, per anchor i, negative j where S_ij > min over positives of S_ik - epsilon, and
positive j where S_ij < max over negatives of S_ik + epsilon. Then, over the kept pairs,

    L = (1/n) sum_i { (1/alpha) log[1 + sum_P exp(-alpha (S_ik - base))]
                    + (1/beta)  log[1 + sum_N exp( beta  (S_ik - base))] }

An anchor without positives or without negatives keeps no pair and adds 0; n counts it all the same.

Source: Wang, Han, Huang, Dong, Scott, CVPR 2019, arXiv 1904.06627. Formula and mining as in the
authors' released code (base = 0.5, beta = 40 there, and the defaults here, our choice; the paper
prints base = 1, beta = 50: recipe `multi-similarity-paper`). Departures, our choice: samples are
told apart by row number, not by similarity, so that exact copies are positives; a partner's weight
multiplies its exponential and the anchor's weight its term; n is the sum of the weights, which is
the published B where all weights are 1.
"""

from __future__ import annotations

from typing import Annotated

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
    alpha: Annotated[float, "above 0"] = 2.0,
    beta: Annotated[float, "above 0"] = 40.0,
    base: Annotated[float, "at least -1, at most 1"] = 0.5,
    epsilon: Annotated[float, "at least 0"] = 0.1,
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: none are used.
        batch: B rows.
        alpha: sharpness on positives, above 0.
        beta: sharpness on negatives, above 0.
        base: cosine that divides near from far, in [-1, 1] ("lambda" in the paper).
        epsilon: mining margin in cosine, at least 0.

    Returns:
        () float; 0, with a gradient of 0, where mining keeps no pair.
    """
    pairs = _pairs.pairs_of(batch, batch)
    positive, negative = mine(pairs, epsilon)
    attraction = _pairs.log1p_sum_exp(-alpha * (pairs.similarity - base), positive, dim=1) / alpha
    repulsion = _pairs.log1p_sum_exp(beta * (pairs.similarity - base), negative, dim=1) / beta
    return _pairs.anchor_mean(attraction + repulsion, batch.weights)


def mine(pairs: _pairs.Pairs, epsilon: float | Tensor) -> tuple[Tensor, Tensor]:
    """Keeps the pairs that are hard for their anchor.

    Returns:
        (B, M) weights of the kept positives and of the kept negatives, 0 elsewhere. Both are empty
        for an anchor that lacks one of the two kinds.
    """
    similarity = pairs.similarity.detach()
    no_positive = similarity.masked_fill(pairs.positive <= 0, torch.inf)
    no_negative = similarity.masked_fill(pairs.negative <= 0, -torch.inf)
    hardest_positive = no_positive.amin(dim=1, keepdim=True)  # +inf without positives
    hardest_negative = no_negative.amax(dim=1, keepdim=True)  # -inf without negatives
    keep_negative = similarity > hardest_positive - epsilon
    keep_positive = similarity < hardest_negative + epsilon
    return pairs.positive * keep_positive, pairs.negative * keep_negative
