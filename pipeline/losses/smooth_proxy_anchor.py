"""Smooth Proxy-Anchor loss: Proxy-Anchor whose members and weights come from class confidences.

With c_ip in [0, 1] the confidence that row i belongs to class p, and the smoothing function
phi(c) = 1 / (1 + exp(-sharpness (c - position))):

    L = 1/|P+| sum_{p in P+} log(1 + sum_{i in M_p}     phi(c_ip)       exp(-scale (S_ip - margin)))
      + 1/C    sum_{p}       log(1 + sum_{i not in M_p} (1 - phi(c_ip)) exp( scale (S_ip + margin)))

M_p = the members of class p, the batch rows with c_ip >= position; P+ = classes with a member. A
row can be a member of several classes, and of another class than its label: the confidences replace
the labels. Without confidences (no such selection) c is 1 for the label and 0 elsewhere; as
sharpness grows the loss is then Proxy-Anchor. `orthogonality` is that of `proxy_anchor`.

Source: Roig, Varas, Masuda, Riveiro, Bou-Balust, CVPR 2020 workshop, arXiv 2006.05142: two phases,
a frozen backbone, confidences from binary cross-entropy, a smoothing function with a position and a
sharpness. This implements the published description; the logistic form of the smoothing, the rule
c >= position, the weights' place and all constants are the project's own.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from pipeline.losses import _proxies
from pipeline.program.batch import Batch

SAMPLER = "shuffle"
BATCH_SIZE = 180
CONFIDENCES = True


def parameters(
    num_classes: int, embedding_dim: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draws the proxies: {"proxies": (C, D) float32}."""
    return {"proxies": _proxies.unit_proxies(num_classes, embedding_dim, generator)}


def loss(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    scale: Annotated[float, "above 0"] = 32.0,
    margin: Annotated[float, "at least 0, at most 1"] = 0.1,
    position: Annotated[float, "at least 0, at most 1"] = 0.5,
    sharpness: Annotated[float, "above 0"] = 10.0,
    weighting: Literal["inside", "none"] = "inside",
    unassigned: Literal["ignore", "negative"] = "ignore",
    orthogonality: Annotated[float, "at least 0"] = 0.0,
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: {"proxies": (C, D)}.
        batch: B rows, with (B, C) confidences where the selection has them.
        scale: sharpness of the sums, above 0 ("alpha").
        margin: cosine margin ("delta"), in [0, 1].
        position: confidence from which on a row is a member, in [0, 1].
        sharpness: steepness of the smoothing, above 0.
        weighting: "inside" weighs the exponentials by phi and 1 - phi; "none" by 1, so that only
            membership counts.
        unassigned: a row without any class is left out ("ignore") or a negative of every proxy
            ("negative").
        orthogonality: strength of the term that pushes proxies apart, at least 0.

    Returns:
        () float; rows of weight 0 get no gradient.
    """
    similarity = _proxies.cosines(batch.embeddings, parameters["proxies"])  # (B, C)
    confidence = batch.confidences
    if confidence is None:
        confidence = _proxies.membership(batch.labels, similarity.shape[1]).to(similarity.dtype)
    is_member = confidence >= position
    smooth = torch.sigmoid(sharpness * (confidence - position))
    if weighting == "none":
        smooth = is_member.to(similarity.dtype)
    rows = batch.weights[:, None]
    if unassigned == "ignore":
        rows = rows * is_member.any(dim=1, keepdim=True)
    value = _proxies.proxy_anchor(
        similarity,
        rows * is_member * smooth,
        rows * ~is_member * (1 - smooth),
        scale=scale,
        margin=margin,
    )
    return _proxies.add_orthogonality(value, parameters["proxies"], batch.weights, orthogonality)
