"""A linear classifier with a bias on unit-norm embeddings, shared by losses without cosines."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.losses import _pairs, _proxies


def draw(num_classes: int, embedding_dim: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Draws a classifier: {"weight": (C, D) unit rows, "bias": (C,) zeros}, float32."""
    weight = _proxies.draw_proxies(num_classes, embedding_dim, generator)
    return {"weight": weight, "bias": torch.zeros(num_classes)}


def logits(parameters: dict[str, Tensor], embeddings: Tensor) -> Tensor:
    """Computes class scores (B, C) of embeddings (B, D); half precision is raised to float32."""
    weight, bias = (_pairs.in_float32(parameters[name]) for name in ("weight", "bias"))
    return _pairs.in_float32(embeddings) @ weight.T + bias
