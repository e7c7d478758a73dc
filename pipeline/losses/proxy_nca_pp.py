"""Proxy-NCA++ loss: Proxy-NCA as a probability with temperature 1/9, on class-balanced batches.

    L = sum_i w_i l_i / sum_i w_i,   l_i = -log softmax_c(-D_ic^2 / temperature)[y_i]

D_ic^2 = 2 - 2 S_ic, the squared distance of embedding i and proxy c, both of unit norm; w_i = the
row's weight. With all weights 0 the loss is 0. At temperature 1/9 the logits are 18 S_ic up to a
constant. `orthogonality` is that of `proxy_anchor`.

Source: Teh, DeVries, Taylor, ECCV 2020, arXiv 2004.01113 (from memory), and the authors' released
code: temperature, proxies in the denominator, balanced batches of 32 = 8 classes x 4. Its other
parts are not of the loss: for the pooled maximum use a store extracted with `--pool max`; features
are centred in place of the layer normalisation; the fast proxies are `proxy_lr` (the code's own
rates belong to an Adam with epsilon 1). Departures: unit-norm proxies at the start and the weighted
mean over rows, our choice.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from pipeline.losses import _proxies
from pipeline.program.batch import Batch

SAMPLER = "balanced"
BATCH_SIZE = 32


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


def loss(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    temperature: Annotated[float, "above 0"] = 0.1111111111111111,
    orthogonality: Annotated[float, "at least 0"] = 0.0,
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: {"proxies": (C, D)}.
        batch: B rows.
        temperature: what squared distances are divided by, above 0; the default is 1/9.
        orthogonality: strength of the term that pushes proxies apart, at least 0.

    Returns:
        () float; rows of weight 0 get no gradient.
    """
    distances = 2 - 2 * _proxies.similarity_of(batch, parameters["proxies"])  # (B, C) squared
    value = _proxies.softmax_loss(-distances / temperature, batch.labels, batch.weights)
    return _proxies.add_orthogonality(value, parameters["proxies"], batch.weights, orthogonality)


def facts(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    orthogonality: Annotated[float, "at least 0"] = 0.0,
) -> dict[str, Tensor]:
    """Reports how orthogonal the proxies are, and their floor, where they are pushed apart.

    Args:
        parameters: {"proxies": (C, D)}.
        batch: not used.
        orthogonality: as in `loss`; with 0 there is nothing to report.
    """
    return _proxies.orthogonality_facts(parameters["proxies"], orthogonality)
