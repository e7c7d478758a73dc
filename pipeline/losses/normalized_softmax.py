"""Normalised softmax loss: a cosine classifier with a temperature, trained by cross-entropy.

    L = sum_i w_i l_i / sum_i w_i,   l_i = -log softmax_c(S_ic / temperature)[y_i]

S_ic = cosine of embedding i and proxy c; w_i = the row's weight. With all weights 0 the loss is 0.
`orthogonality` is that of `proxy_anchor`.

Source: Zhai, Wu, "Classification is a Strong Baseline for Deep Metric Learning", BMVC 2019, arXiv
1811.12649 (from memory, as is its temperature 0.05, which PRISM's authors and
pytorch-metric-learning use). Departures: no layer normalisation in front of the head, as features
are centred; unit-norm proxies at the start; shuffled batches, because their composition does not
matter here; the weighted mean over rows. All our choice.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from pipeline.losses import _proxies
from pipeline.program.batch import Batch

SAMPLER = "shuffle"
BATCH_SIZE = 64


def parameters(
    num_classes: int,
    embedding_dim: int,
    generator: torch.Generator,
    *,
    start: Literal["random", "orthogonal", "kaiming"] = "random",
) -> dict[str, Tensor]:
    """Draws the proxies: {"proxies": (C, D) float32}.

    Args:
        num_classes: C.
        embedding_dim: D.
        generator: on the CPU.
        start: "random" unit vectors; "orthogonal" ones where C <= D; or "kaiming", by fan-out.
    """
    return {"proxies": _proxies.draw_proxies(num_classes, embedding_dim, generator, start)}


def logits(
    parameters: dict[str, Tensor],
    embeddings: Tensor,
    *,
    temperature: Annotated[float, "above 0"] = 0.05,
) -> Tensor:
    """Computes class scores, the cosines divided by the temperature.

    Args:
        parameters: {"proxies": (C, D)}.
        embeddings: (B, D) unit norm.
        temperature: as in `loss`.

    Returns:
        (B, C) float.
    """
    return _proxies.cosines(embeddings, parameters["proxies"]) / temperature


def loss(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    temperature: Annotated[float, "above 0"] = 0.05,
    orthogonality: Annotated[float, "at least 0"] = 0.0,
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: {"proxies": (C, D)}.
        batch: B rows.
        temperature: what cosines are divided by, above 0.
        orthogonality: strength of the term that pushes proxies apart, at least 0.

    Returns:
        () float; rows of weight 0 get no gradient.
    """
    similarity = _proxies.similarity_of(batch, parameters["proxies"])  # (B, C)
    value = _proxies.softmax_loss(similarity / temperature, batch.labels, batch.weights)
    return _proxies.add_orthogonality(value, parameters["proxies"], batch.weights, orthogonality)
