"""Contrastive loss: pulls positives together, pushes near negatives away.

    L = (1/n) sum_i [ sum_{j: y_j = y_i} (1 - S_ij) + sum_{j: y_j != y_i, S_ij > threshold} S_ij ]

S_ij = cosine of embeddings i and j, i != j as samples; n = number of rows that count. The sums run
over pairs, they are not means. Summing S_ij instead of S_ij - threshold gives the same gradient.
The older form, `distance="euclidean"`, has the distance D = sqrt(2 - 2 S) and two margins,

    L = mean over positive pairs of [D_ij - positive_margin]_+
      + mean over negative pairs of [negative_margin - D_ij]_+

where each mean is over the pairs whose term is above 0.

Source: Hadsell, Chopra, LeCun, CVPR 2006 (from memory), the Euclidean form as
pytorch-metric-learning has it; cosine form of XBM (Wang et al., CVPR 2020, arXiv 1912.06798, from
memory) and PRISM (Liu et al., CVPR 2021, arXiv 2103.16047), from their released code.
Departures, our choice: a pair weighs the product of its rows' weights; samples are told apart by
row number, not by S < 1 - 1e-5, so exact duplicates are pairs; n counts the kept rows by default
(`divisor="batch"` is the published form).
"""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor

from pipeline.losses import _pairs
from pipeline.program.batch import Batch

SAMPLER = "balanced"
BATCH_SIZE = 64


def loss(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    distance: Literal["cosine", "euclidean"] = "cosine",
    threshold: Annotated[float, "at least -1, at most 1"] = 0.5,
    divisor: Literal["kept", "batch"] = "kept",
    positive_margin: Annotated[float, "at least 0, below 2"] = 0.0,
    negative_margin: Annotated[float, "above 0, at most 2"] = 1.0,
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: none are used.
        batch: B rows.
        distance: "cosine" or "euclidean", the form.
        threshold: of the cosine form: cosine in [-1, 1] above which a negative counts ("lambda").
        divisor: of the cosine form: "kept" or "batch", what the sum is divided by.
        positive_margin: of the Euclidean form: distance in [0, 2) above which a positive counts.
        negative_margin: of the Euclidean form: distance in (0, 2] below which a negative counts.

    Returns:
        () float; 0, with a gradient of 0, where no pair counts.
    """
    pairs = _pairs.pairs_of(batch, batch)
    if distance == "cosine":
        terms = _pairs.contrastive_terms(pairs, threshold)
        return _pairs.anchor_mean(terms, batch.weights, divisor=divisor)
    far = _pairs.distances(pairs.similarity)  # (B, B)
    weights = batch.weights[:, None]
    attraction = _mean_of_open(far - positive_margin, weights * pairs.positive)
    return attraction + _mean_of_open(negative_margin - far, weights * pairs.negative)


def _mean_of_open(excess: Tensor, weights: Tensor) -> Tensor:
    """Averages the (B, B) values above 0 by their weights; 0 where there are none."""
    weights = weights * (excess > 0)
    return (weights * excess).sum() / weights.sum().clamp_min(1e-12)
