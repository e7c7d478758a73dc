"""Mathematics that proxy losses share: cosines, proxy-anchor sums, softmax, orthogonality."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.losses._pairs import in_float32, log1p_of_sum_exp, log1p_sum_exp
from pipeline.program.batch import Batch, tapped
from pipeline.program.products import product

_LEAST_NORM = 1e-12  # of a proxy, which is divided by


def draw_proxies(
    num_classes: int, embedding_dim: int, generator: torch.Generator, start: str = "random"
) -> Tensor:
    """Draws one vector per class, (C, D) float32.

    Args:
        num_classes: C.
        embedding_dim: D.
        generator: on the CPU.
        start: "random" draws unit vectors. "orthogonal" makes them orthogonal to each other where
            C <= D, and is "random" otherwise. "kaiming" draws by fan-out, as published code does,
            norms near sqrt(2 D / C). Unit norm is our choice: Adam moves each coordinate by about
            the learning rate, so with many classes, small norms, one step would redraw a proxy.
    """
    drawn = torch.randn(num_classes, embedding_dim, generator=generator)
    if start == "kaiming":
        return drawn * math.sqrt(2 / num_classes)
    if start == "orthogonal" and num_classes <= embedding_dim:
        basis, upper = torch.linalg.qr(drawn.T)
        rows: Tensor = (basis * upper.diagonal().sign()).T  # no direction is preferred
        return rows.contiguous()
    return functional.normalize(drawn, dim=1)


def cosines(embeddings: Tensor, proxies: Tensor) -> Tensor:
    """Computes the (B, C) cosines of unit embeddings (B, D) and proxies (C, D) of any norm.

    Half precision is raised to float32.
    """
    found: Tensor = _Cosines.apply(in_float32(embeddings), in_float32(proxies))[0]
    return found


class _Cosines(torch.autograd.Function):
    """E P^T / |p|, and its gradients, without a copy of the proxies at unit norm.

    With many classes the traffic over (C, D) tensors is what a step costs; written as a product
    with `normalize(P)` there would be five of them beside the gradient.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(embeddings: Tensor, proxies: Tensor) -> tuple[Tensor, Tensor]:
        inverse = proxies.norm(dim=1).clamp_min(_LEAST_NORM).reciprocal()  # (C,)
        return (embeddings @ proxies.T) * inverse, inverse

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]
    ) -> None:
        found, inverse = output
        ctx.mark_non_differentiable(inverse)
        ctx.save_for_backward(*inputs, found, inverse)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        embeddings, proxies, found, inverse = ctx.saved_tensors
        scaled = gradients[0] * inverse  # (B, C)
        radial = (scaled * found).sum(dim=0) * inverse  # (C,): along a proxy no cosine changes
        by_proxies = product(scaled.T, embeddings).sub_(proxies * radial[:, None])
        return product(scaled, proxies), by_proxies


def similarity_of(batch: Batch, proxies: Tensor) -> Tensor:
    """Computes the `cosines` of a batch, and lets them pass through its tap."""
    return tapped(batch, "proxies", cosines(batch.embeddings, proxies))


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
        scale: above 0 ("alpha"), one for all or (B, C).
        margin: cosine ("delta").
    """
    attraction = log1p_sum_exp(-scale * (similarity - margin), positive, dim=0)  # (C,)
    repulsion = log1p_sum_exp(scale * (similarity + margin), negative, dim=0)  # (C,)
    num_positive = (positive > 0).any(dim=0).sum().clamp_min(1)
    return attraction.sum() / num_positive + repulsion.mean()


def proxy_anchor_of_labels(
    similarity: Tensor,
    labels: Tensor,
    weights: Tensor,
    *,
    scale: float | Tensor,
    margin: float | Tensor,
) -> Tensor:
    """Computes `proxy_anchor` for rows that are members of one class each, at less cost.

    A proxy is attracted by the rows of its class alone, which are found among the batch: (B, B) in
    place of (B, C).

    Args:
        similarity: (B, C) cosines.
        labels: (B,) int64 in 0..C-1.
        weights: (B,) in [0, 1] inside the logarithm.
        scale: above 0 ("alpha").
        margin: cosine ("delta").
    """
    own = similarity.gather(1, labels[:, None])[:, 0]  # (B,)
    is_same = (labels[:, None] == labels[None, :]) & (weights > 0)[None, :]  # (B, B)
    # Each class enters once, with the first of its rows that counts.
    is_first = (weights > 0) & ~is_same.tril(diagonal=-1).any(dim=1)
    pull = -scale * (own - margin)
    attraction = log1p_sum_exp(pull.expand_as(is_same), is_same * weights, dim=1)  # (B,)
    logs = weights.to(similarity.dtype).log()  # -inf leaves a row out
    push = scale * similarity + (scale * margin + logs)[:, None]
    repulsion = log1p_of_sum_exp(push.scatter(1, labels[:, None], -torch.inf), dim=0)  # (C,)
    return (attraction * is_first).sum() / is_first.sum().clamp_min(1) + repulsion.mean()


def softmax_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Averages the cross-entropy of the rows that count.

        sum_i w_i l_i / sum_i w_i,   l_i = -log softmax(logits_i)[y_i]

    By log-softmax, so a confidently wrong row costs its logit gap and keeps its gradient where a
    softmax would underflow to 0. With all weights 0 the loss and its gradient are 0.

    Args:
        logits: (B, C).
        labels: (B,) int64 in 0..C-1.
        weights: (B,) in [0, 1].
    """
    own = logits.log_softmax(dim=1).gather(1, labels[:, None])[:, 0]  # (B,)
    weights = weights.to(own.dtype)
    return -(weights * own).sum() / weights.sum().clamp_min(1e-12)


def orthogonality(proxies: Tensor) -> Tensor:
    """Averages the squared cosine of two different proxies: 0 where all are orthogonal.

        R / (C (C - 1)),   R = ||P P^T - I||_F^2 = sum_{k != l} cos^2(p_k, p_l),   rows of unit norm

    from the D x D matrix P^T P, which has the same Frobenius norm as P P^T: nothing of size C x C
    is held. Random proxies are near 1 / D. With C > D it cannot be 0: R is at least C^2 / D - C,
    the mean at least (C - D) / (D (C - 1)), and random proxies are near that floor already, so
    little is to be gained with many classes. Negative cosines cost as much as positive ones.

    Args:
        proxies: (C, D) of any norm, C at least 2. At C = 11,318 and D = 512 float32 differs from
            float64 by 4e-8 of the result.
    """
    unit = functional.normalize(in_float32(proxies), dim=1)
    gram = unit.T @ unit  # (D, D)
    # The computed norms in place of 1: their rounding would not cancel otherwise.
    diagonal = unit.square().sum(dim=1).square().sum()
    num_classes = proxies.shape[0]
    return (gram.square().sum() - diagonal) / (num_classes * (num_classes - 1))


def add_orthogonality(
    value: Tensor, proxies: Tensor, weights: Tensor, strength: float | Tensor
) -> Tensor:
    """Adds strength * orthogonality to a loss, unless no row of the batch counts.

    Args:
        value: () the loss; returned as it is where strength is 0.
        proxies: (C, D).
        weights: (B,) of the batch's rows; with all of them 0 there is no step to take.
        strength: at least 0.
    """
    if not isinstance(strength, Tensor) and strength == 0:
        return value
    return value + strength * orthogonality(proxies) * (weights > 0).any()


def orthogonality_facts(proxies: Tensor, strength: float) -> dict[str, Tensor]:
    """Collects how orthogonal proxies (C, D) are and could be; nothing where strength is 0.

    Returns:
        "proxy_squared_cosine", the mean squared cosine of two proxies, and
        "proxy_squared_cosine_floor", max(0, (C - D) / (D (C - 1))), below which it cannot be.
    """
    if strength == 0:
        return {}
    found = orthogonality(proxies)
    num_classes, dim = proxies.shape
    floor = max(0.0, (num_classes - dim) / (dim * (num_classes - 1)))
    return {
        "proxy_squared_cosine": found,
        "proxy_squared_cosine_floor": torch.full_like(found, floor),
    }
