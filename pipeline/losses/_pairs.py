"""Mathematics that pair losses share: who pairs with whom, and sums over masked pairs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.program.batch import Batch, tapped
from pipeline.program.memory import Memory

_CHUNK = 2**22  # triplets that are looked at together


class Pairs(NamedTuple):
    """Cosines between B anchors and M references, and which of them are pairs.

    Attributes:
        similarity: (B, M) cosines.
        positive: (B, M) float, the reference's weight where both have one label, else 0.
        negative: (B, M) float, the reference's weight where the labels differ, else 0.
    """

    similarity: Tensor
    positive: Tensor
    negative: Tensor


def in_float32(values: Tensor) -> Tensor:
    """Raises half precision to float32, in which losses compute; wider types stay as they are."""
    return values.float() if values.dtype.itemsize < 4 else values


def pairs_of(batch: Batch, references: Batch | Memory) -> Pairs:
    """Pairs each row of the batch with each reference, never a sample with itself.

    Identity goes by row number, never by similarity: an exact duplicate under another row number
    is a pair. The anchor's own weight is left to `anchor_mean`, so that it enters once; together a
    pair weighs the product of its two rows' weights (our choice). Half-precision embeddings are
    raised to float32.
    """
    similarity = in_float32(batch.embeddings) @ in_float32(references.embeddings).T  # (B, M)
    similarity = tapped(batch, "batch" if isinstance(references, Batch) else "memory", similarity)
    is_other = batch.rows[:, None] != references.rows[None, :]
    is_same_class = batch.labels[:, None] == references.labels[None, :]
    weight = is_other * references.weights[None, :].to(similarity.dtype)
    return Pairs(similarity, weight * is_same_class, weight * ~is_same_class)


def log1p_sum_exp(exponents: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Computes log(1 + sum of weights * exp(exponents)) along `dim` without overflow.

    Entries of weight 0 are left out; with none left the result is 0 and so is its gradient.

    Args:
        exponents: float tensor.
        weights: same shape, in [0, 1], constant for the gradient.
        dim: the dimension that is summed.
    """
    return log1p_of_sum_exp(_weighted(exponents, weights), dim)


def log1p_of_sum_exp(terms: Tensor, dim: int) -> Tensor:
    """Computes log(1 + sum of exp(terms)) along `dim` without overflow; terms may be -inf."""
    highest = terms.detach().amax(dim=dim, keepdim=True).clamp_min(0)
    total = (terms - highest).exp().sum(dim=dim)
    highest = highest.squeeze(dim)
    return highest + (total + (-highest).exp()).log()


def log_sum_exp(exponents: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Computes log(sum of weights * exp(exponents)) along `dim` without overflow.

    Entries of weight 0 are left out; with none left the result is 0, in place of log 0, and so is
    its gradient.

    Args:
        exponents: float tensor.
        weights: same shape, in [0, 1], constant for the gradient.
        dim: the dimension that is summed.
    """
    is_empty = ~(weights > 0).any(dim=dim)
    terms = _weighted(exponents, weights).masked_fill(is_empty.unsqueeze(dim), 0.0)
    return torch.logsumexp(terms, dim=dim).masked_fill(is_empty, 0.0)


def _weighted(exponents: Tensor, weights: Tensor) -> Tensor:
    """Brings the weights of exponentials into the exponents: -inf where the weight is 0."""
    return exponents + weights.to(exponents.dtype).log()


def distances(similarity: Tensor) -> Tensor:
    """Turns cosines of unit vectors into their Euclidean distances, sqrt(2 - 2 S).

    Two vectors that are equal up to rounding have distance 0 and, where the root has no slope, a
    gradient of 0 (our choice).
    """
    squared = 2 - 2 * similarity
    is_apart = squared > 16 * torch.finfo(similarity.dtype).eps
    return torch.where(is_apart, torch.where(is_apart, squared, 1.0).sqrt(), 0.0)


def contrastive_terms(pairs: Pairs, threshold: float | Tensor) -> Tensor:
    """Sums 1 - S over positives and S over negatives with S above the threshold.

    Returns:
        (B,) one sum per anchor.
    """
    is_hard = pairs.similarity > threshold
    attraction = (pairs.positive * (1 - pairs.similarity)).sum(dim=1)
    repulsion = (pairs.negative * is_hard * pairs.similarity).sum(dim=1)
    return attraction + repulsion


def anchor_mean(terms: Tensor, weights: Tensor, *, divisor: str = "kept") -> Tensor:
    """Averages per-anchor terms over the anchors that count, or over the whole batch.

    Args:
        terms: (B,) one term per anchor.
        weights: (B,) the anchors' weights in [0, 1].
        divisor: "kept" divides by the sum of the weights; "batch" by B, as published code does
            even after rows were rejected.
    """
    weights = weights.to(terms.dtype)
    count = weights.sum() if divisor == "kept" else torch.ones_like(weights).sum()
    return (weights * terms).sum() / count.clamp_min(1e-12)


def count_open_triplets(
    far: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: Tensor,
    *,
    is_semi_hard: bool = False,
) -> tuple[Tensor, Tensor]:
    """Adds up the weights of the triplets (a, p, n) with D_an - D_ap below the margin.

    Inside its hinge a triplet loss is linear in the distances, so its triplets need only be
    counted; they are looked at by chunks of anchors, and none outlives its chunk.

    Args:
        far: (B, B) distances D, detached.
        positive: (B, B) weight of anchor and positive, 0 where they are none.
        negative: (B, B) weight of the negative, 0 where it is none.
        margin: (B, B) of anchor and negative.
        is_semi_hard: whether the negative has to be farther than the positive.

    Returns:
        (B, B) sums over the triplets (a, p, .) and (B, B) over the triplets (a, ., n).
    """
    rows = len(far)
    number = min(rows, -(-(rows**3) // _CHUNK))
    pulls, pushes = [], []
    parts = (far, margin, positive, negative)
    for distance, limit, pull, push in zip(*(each.chunk(number) for each in parts), strict=True):
        gap = distance[:, None, :] - distance[:, :, None]  # (chunk, B, B): D_an - D_ap
        is_open = gap < limit[:, None, :]
        counts = (is_open & (gap > 0) if is_semi_hard else is_open).to(far.dtype)
        pulls.append(pull * (counts @ push[:, :, None]).squeeze(2))
        pushes.append(push * (pull[:, None, :] @ counts).squeeze(1))
    return torch.cat(pulls), torch.cat(pushes)
