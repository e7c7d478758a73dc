"""The embedding head: what stage two trains on the cached features."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.program.products import product
from pipeline.program.rows import tiles


@dataclass(frozen=True)
class Centring:
    """The training features' mean, (F,) float32, and their common scale, () float32.

    Features after a ReLU are non-negative, so raw cosines are high between all classes: the mean
    has to go. One scale for all features, not one each: dividing by each feature's own deviation
    raises the noise of the weak ones, and trained heads then follow wrong labels more readily
    (our choice, on the validation rows of the Grocery photos).
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Centring:
        """Measure (N, F) features; constant features get the scale 1."""
        return cls.over(tiles(features))

    @classmethod
    def over(cls, parts: Iterable[Tensor]) -> Centring:
        """Measure features that come in parts (T, F), at least one row in all, in one pass.

        Float64 sums of the deviations from the first row: nothing cancels.
        """
        count, device = 0, torch.device("cpu")
        origin = sums = squares = torch.zeros(0)
        for part in parts:
            there = part.cpu() if part.device.type == "mps" else part
            if not count:
                origin, device = there[0].double(), part.device
                sums, squares = torch.zeros_like(origin), torch.zeros_like(origin)
            deviations = there - origin
            sums += deviations.sum(dim=0)
            squares += deviations.square_().sum(dim=0)
            count += len(part)
        shift = sums / count
        mean = (origin + shift).float().to(device)
        scale = (squares / count - shift.square()).clamp_min(0).mean().sqrt().float().to(device)
        is_constant = scale <= 1e-6 * (1 + mean.abs().max())
        return cls(mean, torch.where(is_constant, torch.ones_like(scale), scale))

    def __call__(self, features: Tensor) -> Tensor:
        """Centre (N, F) features of any float type, to float32 of unit mean square."""
        return (features.float() - self.mean).div_(self.scale)


def linear(num_features: int, embedding_dim: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw a linear head: weight (F, D) Kaiming-normal by fan-out, bias (D,) zero."""
    weight = torch.randn(num_features, embedding_dim, generator=generator)
    return {"weight": weight * (2 / embedding_dim) ** 0.5, "bias": torch.zeros(embedding_dim)}


def embed(head: dict[str, Tensor], features: Tensor) -> Tensor:
    """Map centred features (B, F) to unit-norm embeddings (B, D)."""
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
