"""Softmax loss: a plain linear classifier on the embedding, trained by cross-entropy.

    L = sum_i w_i l_i / sum_i w_i,   l_i = -log softmax_c(W x_i + b)[y_i]

x_i = embedding, unit norm; W (C, D) and b (C,) are learned, without a temperature: their norm grows
as training needs it. w_i = the row's weight. With all weights 0 the loss is 0.

The textbook classifier, for the noisy-label methods that work with one (co-teaching);
`normalized-softmax` is the form that suits retrieval. Rows of W have unit norm at the start and b
is 0, our choice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.losses import _classifier, _proxies
from pipeline.program.batch import Batch, tapped

SAMPLER = "shuffle"
BATCH_SIZE = 64


def parameters(
    num_classes: int, embedding_dim: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draws the classifier: {"weight": (C, D), "bias": (C,)} float32."""
    return _classifier.draw(num_classes, embedding_dim, generator)


def logits(parameters: dict[str, Tensor], embeddings: Tensor) -> Tensor:
    """Computes class scores (B, C) of embeddings (B, D)."""
    return _classifier.logits(parameters, embeddings)


def loss(parameters: dict[str, Tensor], batch: Batch) -> Tensor:
    """Computes the loss of one batch, () float; rows of weight 0 get no gradient."""
    scores = tapped(batch, "proxies", logits(parameters, batch.embeddings))  # (B, C)
    return _proxies.softmax_loss(scores, batch.labels, batch.weights)
