"""Binomial deviance loss: a smooth, two-sided hinge on every pair's cosine.

    L = (1/n) sum_i { mean_{j in P_i} log(1 + exp(alpha (base - S_ij)))
                    + mean_{j in N_i} log(1 + exp(beta  (S_ij - base))) }

S_ij = cosine of embeddings i and j; P_i, N_i = positives and negatives of row i; n = number of rows
that count. An empty mean is 0.

Source: Yi, Lei, Li 2014, arXiv 1407.4979 (from memory, as are the constants); the form per anchor
is that of General Pair Weighting (Wang et al., CVPR 2019, arXiv 1904.06627, from memory).
Departures, our choice: a partner's weight multiplies inside the means, which divide by the sum of
the weights; samples are told apart by row number.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor
from torch.nn import functional

from pipeline.losses import _pairs
from pipeline.program.batch import Batch

SAMPLER = "balanced"
BATCH_SIZE = 64


def loss(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    alpha: Annotated[float, "above 0"] = 2.0,
    beta: Annotated[float, "above 0"] = 50.0,
    base: Annotated[float, "at least -1, at most 1"] = 0.5,
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: none are used.
        batch: B rows.
        alpha: sharpness on positives, above 0.
        beta: sharpness on negatives, above 0.
        base: cosine that divides near from far, in [-1, 1] ("lambda" in the table of the source).

    Returns:
        () float; 0, with a gradient of 0, where there is no pair.
    """
    pairs = _pairs.pairs_of(batch, batch)
    # log(1 + exp(x)) = -logsigmoid(-x); softplus turns linear at x = 20, an error of 2e-9.
    attraction = -functional.logsigmoid(-alpha * (base - pairs.similarity))
    repulsion = -functional.logsigmoid(-beta * (pairs.similarity - base))
    terms = _mean(attraction, pairs.positive) + _mean(repulsion, pairs.negative)
    return _pairs.anchor_mean(terms, batch.weights)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Averages (B, M) values by (B, M) weights to (B,); 0 where all weights are 0."""
    return (weights * values).sum(dim=1) / weights.sum(dim=1).clamp_min(1e-12)
