"""The embedding head: what stage two trains on the cached features.

    linear    p = x W + b
    residual  p = x W + b + relu(x U + c) V    V begins at 0, so the head begins as the linear one
    mlp       p = relu(x U + c) W + b

and the embedding is p at unit norm. x (F,) = a row's features, transformed; W = weight, b = bias,
U = hidden_weight (F, H), c = hidden_bias, V = residual (H, D). Which head it is, its tensors' names
say. Sources: the shortcut around a branch is that of residual networks (He, Zhang, Ren and Sun,
CVPR 2016, arXiv 1512.03385), there around each block, here around all of the head; a branch that
begins at 0 is that of Goyal et al. (arXiv 1706.02677, section 5.1), from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.program.products import product

Kind = Literal["linear", "residual", "mlp"]
Affine = Callable[[Tensor, Tensor, Tensor | None], Tensor]
NAMES = ("weight", "bias", "hidden_weight", "hidden_bias", "residual")


def linear(num_features: int, embedding_dim: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw a linear head: weight (F, D) Kaiming-normal by fan-out, bias (D,) zero."""
    weight = torch.randn(num_features, embedding_dim, generator=generator)
    return {"weight": weight * (2 / embedding_dim) ** 0.5, "bias": torch.zeros(embedding_dim)}


def draw(
    kind: Kind,
    num_features: int,
    embedding_dim: int,
    hidden: int,
    generator: torch.Generator,
    branch: torch.Generator,
) -> dict[str, Tensor]:
    """Draw a head, every layer as `linear` draws it.

    Args:
        kind: of head.
        num_features: F.
        embedding_dim: D.
        hidden: H, of a head that has a hidden layer.
        generator: of what every head has.
        branch: of the hidden layer; so all else of a run is drawn as without one.
    """
    if kind == "linear":
        return linear(num_features, embedding_dim, generator)
    layer = linear(num_features, hidden, branch)
    own = {f"hidden_{name}": value for name, value in layer.items()}
    if kind == "mlp":
        return {**linear(hidden, embedding_dim, generator), **own}
    last = torch.zeros(hidden, embedding_dim)
    return {**linear(num_features, embedding_dim, generator), **own, "residual": last}


def embed(head: Mapping[str, Tensor], features: Tensor) -> Tensor:
    """Map transformed features (B, F) to unit-norm embeddings (B, D)."""
    return functional.normalize(project(head, features, _Affine.apply), dim=1)


def plain(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute X W + b as torch does by itself."""
    return rows @ weight if bias is None else rows @ weight + bias


def project(head: Mapping[str, Tensor], features: Tensor, affine: Affine = plain) -> Tensor:
    """Map transformed features (B, F) to what is the embedding but for its length, (B, D).

    Args:
        head: its tensors; their names say which head it is.
        features: (B, F).
        affine: computes X W + b, or X W.
    """
    weight, bias = head["weight"], head["bias"]
    if "hidden_weight" not in head:
        return affine(features, weight, bias)
    hidden = affine(features, head["hidden_weight"], head["hidden_bias"]).relu()  # (B, H)
    if "residual" not in head:
        return affine(hidden, weight, bias)
    return affine(features, weight, bias) + affine(hidden, head["residual"], None)


class _Affine(torch.autograd.Function):
    """X W + b, or X W, with its gradients by `product`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return plain(features, weight, bias)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor
    ) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        features, weight = ctx.saved_tensors
        by_features = product(gradient, weight.T) if ctx.needs_input_grad[0] else None
        by_bias = gradient.sum(dim=0) if ctx.needs_input_grad[2] else None
        return by_features, product(features.T, gradient), by_bias
