"""Proxy-NCA loss: a softmax over squared distances to one learned proxy per class.

    L = sum_i w_i l_i / sum_i w_i,   l_i = -log softmax_c(-scale D_ic^2)[y_i]

D_ic^2 = 2 - 2 S_ic, the squared distance of embedding i and proxy c, both of unit norm; w_i = the
row's weight. With all weights 0 the loss is 0. It is `normalized-softmax` at temperature
1 / (2 scale). `orthogonality` is that of `proxy_anchor`.

Source: Movshovitz-Attias, Toshev, Leung, Ioffe, Singh, ICCV 2017, arXiv 1703.07464 (from memory),
and its public re-implementations. Departures: the own proxy is in the denominator, as in most code;
the paper leaves it out, so that its loss can be negative. No label smoothing. Unit-norm proxies at
the start and the weighted mean over rows, our choice. So is the scale, where sources differ from 1
to 32: at 1, the library's default, all logits lie within 4 of each other. 3 is that of PRISM's
comparison, and best on clean labels on the 296 validation photos of Grocery, head trained on frozen
features (Recall@1 at 1, 3, 10, 32: 72.6, 73.0, 70.9, 66.2).
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


def loss(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    scale: Annotated[float, "above 0"] = 3.0,
    orthogonality: Annotated[float, "at least 0"] = 0.0,
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: {"proxies": (C, D)}.
        batch: B rows.
        scale: what squared distances are multiplied by, above 0.
        orthogonality: strength of the term that pushes proxies apart, at least 0.

    Returns:
        () float; rows of weight 0 get no gradient.
    """
    distances = 2 - 2 * _proxies.similarity_of(batch, parameters["proxies"])  # (B, C) squared
    value = _proxies.softmax_loss(-scale * distances, batch.labels, batch.weights)
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
