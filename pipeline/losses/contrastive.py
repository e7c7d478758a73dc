"""Contrastive loss on cosines: pulls positives together, pushes hard negatives below a threshold.

    L = (1/n) sum_i [ sum_{j: y_j = y_i} (1 - S_ij) + sum_{j: y_j != y_i, S_ij > threshold} S_ij ]

S_ij = cosine of embeddings i and j, i != j as samples; n = number of rows that count. The sums run
over pairs, they are not means. Summing S_ij instead of S_ij - threshold gives the same gradient.

Source: Hadsell, Chopra, LeCun, CVPR 2006; cosine form of XBM (Wang et al., CVPR 2020,
arXiv 1912.06798) and PRISM (Liu et al., CVPR 2021, arXiv 2103.16047).
Departures: a pair weighs the product of its rows' weights; samples are told apart by row number,
not by S < 1 - 1e-5, so exact duplicates are pairs; n counts the kept rows by default
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
    threshold: Annotated[float, "at least -1, at most 1"] = 0.5,
    divisor: Literal["kept", "batch"] = "kept",
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: none are used.
        batch: B rows.
        threshold: cosine in [-1, 1] above which a negative pair counts ("lambda").
        divisor: "kept" or "batch", what the sum is divided by.

    Returns:
        () float; 0, with a gradient of 0, where no pair counts.
    """
    terms = _pairs.contrastive_terms(_pairs.pairs_of(batch, batch), threshold)
    return _pairs.anchor_mean(terms, batch.weights, divisor=divisor)
