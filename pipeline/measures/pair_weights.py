"""General Pair Weighting: how hard a loss on cosines pulls and pushes each pair, in closed form.

For a loss L on the cosines S_ij, with w_ij = |dL/dS_ij| held constant,

    F = sum_i ( sum_{j in N_i} w_ij S_ij - sum_{j in P_i} w_ij S_ij )

has the gradient of L; P_i, N_i = positives and negatives of anchor i. The functions give w_ij of
one unscaled term per anchor, before any mean over anchors. They take the pairs of a batch or of a
batch with a memory; a partner's weight multiplies its own part, as in the losses, and a pair of
weight 0 has weight 0 (our choice; with weights of 1 the published table).

Source: Wang, Han, Huang, Dong, Scott, CVPR 2019, arXiv 1904.06627. Its table has the losses on
cosines: `triplet` and `lifted_structure` here are not the Euclidean forms of `pipeline.losses`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.losses._pairs import Pairs, log1p_sum_exp, log_sum_exp


class PairWeights(NamedTuple):
    """What the pairs of B anchors and M references weigh.

    Attributes:
        attraction: (B, M) float, at least 0; -dL/dS on positives, 0 elsewhere.
        repulsion: (B, M) float, at least 0; dL/dS on negatives, 0 elsewhere.
    """

    attraction: Tensor
    repulsion: Tensor


def contrastive(pairs: Pairs, *, threshold: float = 0.5) -> PairWeights:
    """Weighs pairs for sum_N [S - threshold]_+ - sum_P S: all positives and hard negatives alike.

    Args:
        pairs: cosines and who is a pair.
        threshold: cosine above which a negative counts.
    """
    return PairWeights(pairs.positive, pairs.negative * (pairs.similarity > threshold))


def triplet(pairs: Pairs, *, margin: float = 0.1) -> PairWeights:
    """Weighs pairs for the sum over all triplets of [S_an - S_ap + margin]_+.

    A pair weighs as many triplets as violate the margin with it. Takes (B, M, M) memory.

    Args:
        pairs: cosines and who is a pair.
        margin: in cosine.
    """
    gap = pairs.similarity[:, None, :] - pairs.similarity[:, :, None] + margin  # S_an - S_ap + m
    weight = (gap > 0) * pairs.positive[:, :, None] * pairs.negative[:, None, :]
    return PairWeights(weight.sum(dim=2), weight.sum(dim=1))


def lifted_structure(pairs: Pairs) -> PairWeights:
    """Weighs pairs for [log sum_P exp(base - S) + log sum_N exp(S - base)]_+ of each anchor.

    A pair weighs its share of its sum; the base cancels. An anchor without positives or without
    negatives weighs nothing.

    Args:
        pairs: cosines and who is a pair.
    """
    near = log_sum_exp(-pairs.similarity, pairs.positive, dim=1)
    far = log_sum_exp(pairs.similarity, pairs.negative, dim=1)
    has_both = (pairs.positive > 0).any(dim=1) & (pairs.negative > 0).any(dim=1)
    is_open = (has_both & (near + far > 0))[:, None]
    return PairWeights(
        is_open * _share(-pairs.similarity, pairs.positive, near),
        is_open * _share(pairs.similarity, pairs.negative, far),
    )


def binomial_deviance(
    pairs: Pairs, *, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5
) -> PairWeights:
    """Weighs pairs for mean_P log(1 + e^(alpha (base - S))) + mean_N log(1 + e^(beta (S - base))).

    Args:
        pairs: cosines and who is a pair.
        alpha: sharpness on positives.
        beta: sharpness on negatives.
        base: cosine that divides near from far.
    """
    pull = alpha * torch.sigmoid(alpha * (base - pairs.similarity))
    push = beta * torch.sigmoid(beta * (pairs.similarity - base))
    return PairWeights(
        pull * pairs.positive / pairs.positive.sum(dim=1, keepdim=True).clamp_min(1e-12),
        push * pairs.negative / pairs.negative.sum(dim=1, keepdim=True).clamp_min(1e-12),
    )


def multi_similarity(
    pairs: Pairs, *, alpha: float = 2.0, beta: float = 40.0, base: float = 0.5
) -> PairWeights:
    """Weighs mined pairs for 1/alpha log(1 + sum_P exp(..)) + 1/beta log(1 + sum_N exp(..)).

    Args:
        pairs: cosines and the pairs that mining has kept.
        alpha: sharpness on positives.
        beta: sharpness on negatives.
        base: cosine that divides near from far.
    """
    near, far = -alpha * (pairs.similarity - base), beta * (pairs.similarity - base)
    return PairWeights(
        _share(near, pairs.positive, log1p_sum_exp(near, pairs.positive, dim=1)),
        _share(far, pairs.negative, log1p_sum_exp(far, pairs.negative, dim=1)),
    )


def _share(exponents: Tensor, weights: Tensor, log_total: Tensor) -> Tensor:
    """Computes weights * exp(exponents) / exp(log_total) where the weights are above 0: (B, M)."""
    # Masked before the exponential: what is no pair may exceed the total without bound.
    is_pair = weights > 0
    return weights * torch.where(is_pair, exponents - log_total[:, None], 0.0).exp()
