"""Mathematics that proxy losses share: proxies, cosines to them, and the proxy-anchor sums."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.losses._pairs import log1p_sum_exp


def unit_proxies(num_classes: int, embedding_dim: int, generator: torch.Generator) -> Tensor:
    """Draws one random unit vector per class, (C, D) float32.

    Unit norm instead of Kaiming fan-out: Adam moves each coordinate by about the learning rate, so
    a norm that shrinks with C would let many classes be redrawn in one step (our choice).
    """
    proxies = torch.randn(num_classes, embedding_dim, generator=generator)
    return functional.normalize(proxies, dim=1)


def cosines(embeddings: Tensor, proxies: Tensor) -> Tensor:
    """Computes the (B, C) cosines of unit embeddings (B, D) and proxies (C, D) of any norm."""
    return embeddings @ functional.normalize(proxies, dim=1).T


def membership(labels: Tensor, num_classes: int) -> Tensor:
    """Marks each row's labelled class: (B, C) bool."""
    classes = torch.arange(num_classes, device=labels.device)
    return labels[:, None] == classes[None, :]


def proxy_anchor(
    similarity: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    scale: float | Tensor,
    margin: float | Tensor,
) -> Tensor:
    """Sums over proxies the log-sum-exp of their positives and of their negatives.

        1/|P+| sum_p log(1 + sum_i positive_ip exp(-scale (S_ip - margin)))
        + 1/C  sum_p log(1 + sum_i negative_ip exp( scale (S_ip + margin)))

    P+ are the proxies with a positive of weight above 0; with none the first part is 0.

    Args:
        similarity: (B, C) cosines.
        positive: (B, C) weights in [0, 1] inside the logarithm.
        negative: (B, C) weights in [0, 1] inside the logarithm.
        scale: above 0 ("alpha").
        margin: cosine ("delta").
    """
    attraction = log1p_sum_exp(-scale * (similarity - margin), positive, dim=0)  # (C,)
    repulsion = log1p_sum_exp(scale * (similarity + margin), negative, dim=0)  # (C,)
    num_positive = (positive > 0).any(dim=0).sum().clamp_min(1)
    return attraction.sum() / num_positive + repulsion.mean()
