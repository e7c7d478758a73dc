"""Smooth Proxy-Anchor loss: Proxy-Anchor whose members and weights come from class confidences.

With c_ip in [0, 1] the confidence that row i belongs to class p, and the smoothing function
phi(c) = 1 / (1 + exp(-sharpness (c - position))):

    L = 1/|P+| sum_{p in P+} log(1 + sum_{i in M_p}     phi(c_ip)       exp(-scale (S_ip - margin)))
      + 1/C    sum_{p}       log(1 + sum_{i not in M_p} (1 - phi(c_ip)) exp( scale (S_ip + margin)))

M_p = the members of class p, the batch rows with c_ip >= position; P+ = classes with a member. A
row can be a member of several classes, and of another class than its label: the confidences replace
the labels. Without confidences (no such selection) c is 1 for the label and 0 elsewhere; as
sharpness grows the loss is then Proxy-Anchor. `orthogonality` is that of `proxy_anchor`.

A weight w inside the logarithm is a mild lever: it moves the margin by ln(w) / scale, at 0.5 by
0.02. Who is a member does most. `weighting="exponent"` is the stronger form, exp(-scale w (S -
margin)): a row of weight w competes with w times the scale, one of weight 0 gets no gradient but
stays in the sum as 1.

Source: Roig, Varas, Masuda, Riveiro, Bou-Balust, CVPR 2020 workshop, arXiv 2006.05142: two phases,
a frozen backbone, confidences from binary cross-entropy, a smoothing function with a position and a
sharpness. This implements the published description; the logistic form of the smoothing, the rule
c >= position, the weights' place, the other forms and all constants are the project's own. The
position is a constant: a batch cannot know the noise rate, and the calibration of the `confidence`
selection, which does, makes 0.5 mean "rather yes". A class that loses all its rows keeps its proxy,
also in the orthogonality.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from cache.errors import InputError
from pipeline.losses import _proxies
from pipeline.program.batch import Batch

SAMPLER = "shuffle"
BATCH_SIZE = 180
CONFIDENCES = True


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
    position: Annotated[float, "at least 0, at most 1"] = 0.5,
    sharpness: Annotated[float, "above 0"] = 10.0,
    weighting: Literal["inside", "exponent", "none"] = "inside",
    negative_weight: Literal["one-minus", "one"] = "one-minus",
    positives: Literal["threshold", "argmax", "given-and-threshold"] = "threshold",
    unassigned: Literal["ignore", "negative", "fallback-argmax", "fallback-given"] = "ignore",
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
        weighting: where the weights phi and 1 - phi multiply: "inside", the exponentials;
            "exponent", their exponents; "none", nothing, so that only membership counts.
        negative_weight: weight of a row that is no member, "one-minus" phi or "one".
        positives: whose member a row is: of all classes at `position` or above ("threshold"); of
            the one of highest confidence, however low ("argmax"); of its label if that is at
            `position` or above ("given-and-threshold").
        unassigned: a row without any class is left out ("ignore"), a negative of every proxy
            ("negative"), or a member, by its phi, of the class of highest confidence
            ("fallback-argmax") or of its label ("fallback-given").
        orthogonality: strength of the term that pushes proxies apart, at least 0.

    Returns:
        () float; rows of weight 0 get no gradient.
    """
    similarity = _proxies.similarity_of(batch, parameters["proxies"])  # (B, C)
    confidence = _confidences(batch, similarity.shape[1]).to(similarity.dtype)
    is_member = members(confidence, batch.labels, position, positives)
    is_member = is_member | _substitutes(is_member, confidence, batch.labels, unassigned)
    rows = batch.weights[:, None]
    if unassigned != "negative":
        rows = rows * is_member.any(dim=1, keepdim=True)
    pull, push = rows * is_member, rows * ~is_member
    phi = torch.sigmoid(sharpness * (confidence - position))
    trust = torch.where(is_member, phi, 1 - phi if negative_weight == "one-minus" else 1.0)
    if weighting == "inside":
        pull, push = pull * trust, push * trust
    each = scale * trust if weighting == "exponent" else scale
    value = _proxies.proxy_anchor(similarity, pull, push, scale=each, margin=margin)
    return _proxies.add_orthogonality(value, parameters["proxies"], batch.weights, orthogonality)


def facts(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    position: Annotated[float, "at least 0, at most 1"] = 0.5,
    positives: Literal["threshold", "argmax", "given-and-threshold"] = "threshold",
    unassigned: Literal["ignore", "negative", "fallback-argmax", "fallback-given"] = "ignore",
    orthogonality: Annotated[float, "at least 0"] = 0.0,
) -> dict[str, Tensor]:
    """Reports the shares of rows that are members of no class, of one and of several.

    Args:
        parameters: {"proxies": (C, D)}.
        batch: rows with their confidences.
        position: as in `loss`.
        positives: as in `loss`.
        unassigned: as in `loss`.
        orthogonality: as in `loss`; above 0 the proxies' figures are reported as well.

    Raises:
        InputError: more than half of the rows would be ignored.
    """
    confidence = _confidences(batch, len(parameters["proxies"]))
    count = members(confidence, batch.labels, position, positives).sum(dim=1)  # (B,)
    present = (batch.weights > 0).to(confidence.dtype)
    none, one, several = (
        (present * is_so).sum() / present.sum().clamp_min(1)
        for is_so in (count == 0, count == 1, count > 1)
    )
    if unassigned == "ignore" and none > 0.5:
        raise InputError(
            f"{none:.0%} of the rows have no class of confidence {position} or more and would be "
            "ignored, at most half may: lower loss.position, or set loss.unassigned"
        )
    found = {"rows_of_no_class": none, "rows_of_one_class": one, "rows_of_several_classes": several}
    return found | _proxies.orthogonality_facts(parameters["proxies"], orthogonality)


def members(confidence: Tensor, labels: Tensor, position: float, positives: str) -> Tensor:
    """Marks whose member each row is, (B, C) bool; a row may have no class, or several."""
    if positives == "argmax":
        return _highest(confidence)
    is_member = confidence >= position
    if positives == "given-and-threshold":
        return is_member & _proxies.membership(labels, confidence.shape[1])
    return is_member


def _substitutes(is_member: Tensor, confidence: Tensor, labels: Tensor, unassigned: str) -> Tensor:
    """Marks the classes that rows without any fall back to."""
    is_unassigned = ~is_member.any(dim=1, keepdim=True)
    if unassigned == "fallback-argmax":
        return is_unassigned & _highest(confidence)
    if unassigned == "fallback-given":
        return is_unassigned & _proxies.membership(labels, confidence.shape[1])
    return torch.zeros_like(is_member)


def _highest(confidence: Tensor) -> Tensor:
    """Marks each row's class of highest confidence, the first of equals; none where all are 0."""
    best = _proxies.membership(confidence.argmax(dim=1), confidence.shape[1])
    return best & (confidence > 0)


def _confidences(batch: Batch, num_classes: int) -> Tensor:
    """Takes the batch's confidences, or certainty in the labels: (B, C)."""
    if batch.confidences is not None:
        return batch.confidences
    return _proxies.membership(batch.labels, num_classes).to(torch.float32)
