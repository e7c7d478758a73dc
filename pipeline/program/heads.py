"""The embedding head: what stage two trains on the cached features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.program.products import product


def linear(num_features: int, embedding_dim: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw a linear head: weight (F, D) Kaiming-normal by fan-out, bias (D,) zero."""
    weight = torch.randn(num_features, embedding_dim, generator=generator)
    return {"weight": weight * (2 / embedding_dim) ** 0.5, "bias": torch.zeros(embedding_dim)}


def embed(head: dict[str, Tensor], features: Tensor) -> Tensor:
    """Map transformed features (B, F) to unit-norm embeddings (B, D)."""
    projected: Tensor = _Affine.apply(features, head["weight"], head["bias"])
    return functional.normalize(projected, dim=1)


class _Affine(torch.autograd.Function):
    """X W + b, with its gradients by `product`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return features @ weight + bias

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        features, weight = ctx.saved_tensors
        by_features = product(gradient, weight.T) if ctx.needs_input_grad[0] else None
        return by_features, product(features.T, gradient), gradient.sum(dim=0)
