"""Proxy-Anchor loss: one learned proxy per class, against which all rows of the batch compete.

    L = 1/|P+| sum_{p in P+} log(1 + sum_{i: y_i = p}  exp(-scale (S_ip - margin)))
      + 1/C    sum_{p}       log(1 + sum_{i: y_i != p} exp( scale (S_ip + margin)))

S_ip = cosine of embedding i and proxy p; P+ = classes present in the batch; C = all classes. A
class that is absent from the batch has no attraction, but its proxy is still pushed away from every
row. With `orthogonality` above 0 the mean squared cosine of two proxies is added, times that
(recipe `soft-orthogonal`). That mean can be 0 only where C <= D; beyond, it is at least
(C - D) / (D (C - 1)), and random proxies are near that floor already: expect an effect with a
hundred classes, next to none with thousands. A run's record has both figures.

Source: Kim, Kim, Cho, Kwak, CVPR 2020, arXiv 2003.13911, and the authors' released code.
Departures: unit-norm proxies at the start (`start="kaiming"` is the code's); a row's weight
multiplies its exponentials inside the logarithm, our choice. Soft orthogonality: Saberi-Movahed et
al., 2023, arXiv 2306.13055; only the roles of its two terms are published in the text at hand, so
unit-norm proxies, the mean over pairs, the strength and `start="orthogonal"` are our
reconstruction.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from pipeline.losses import _proxies
from pipeline.program.batch import Batch

SAMPLER = "shuffle"
BATCH_SIZE = 180


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
    scale: Annotated[float, "above 0"] = 32.0,
    margin: Annotated[float, "at least 0, at most 1"] = 0.1,
    orthogonality: Annotated[float, "at least 0"] = 0.0,
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: {"proxies": (C, D)}.
        batch: B rows.
        scale: sharpness, above 0 ("alpha" in the paper).
        margin: cosine margin ("delta" in the paper), in [0, 1].
        orthogonality: strength of the term that pushes proxies apart, at least 0.

    Returns:
        () float; rows of weight 0 get no gradient.
    """
    similarity = _proxies.similarity_of(batch, parameters["proxies"])  # (B, C)
    value = _proxies.proxy_anchor_of_labels(
        similarity, batch.labels, batch.weights, scale=scale, margin=margin
    )
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
