"""Margin loss: positives within a learned distance, distance-weighted negatives beyond it.

    L = (1/A) sum_{(a,p)} { [margin + D_ap - beta_y]_+ + sum_n q_an [margin - D_an + beta_y]_+ }

D_ij = Euclidean distance of embeddings i and j; beta_y = the learned boundary of the anchor's
class; A = the number of terms above 0, the one of a negative counted q_an times. q_a is the
distance-weighted distribution over the anchor's negatives nearer than `farthest`: proportional to
1/f(max(D, cutoff)), f(D) = D^(d-2) (1 - D^2/4)^((d-3)/2), the density of the distance of two random
points on the unit sphere of dimension d. It is constant for the gradient. An anchor without such a
negative has only its positive part.

Source: Wu, Manmatha, Smola, Kraehenbuehl, ICCV 2017, arXiv 1706.07567 (from memory); formula and
constants as in pytorch-metric-learning. Departures: the paper draws
one negative per positive pair from q_a; here is the expectation over that draw, in the sum and in
A, so the loss is deterministic and its gradient varies less (our choice: a loss has no generator).
The paper's regulariser of beta (nu, 0 by default) is left out. A pair weighs the product of its
rows' weights, and a negative's weight multiplies its share in q_a, our choice.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from pipeline.losses import _pairs
from pipeline.program.batch import Batch

SAMPLER = "balanced"
BATCH_SIZE = 64


def parameters(
    num_classes: int,
    embedding_dim: int,
    generator: torch.Generator,
    *,
    boundary: Annotated[float, "above 0, below 2"] = 1.2,
) -> dict[str, Tensor]:
    """Starts the boundaries: {"boundary": (C,) float32}; nothing is drawn.

    Args:
        num_classes: C.
        embedding_dim: D.
        generator: not used.
        boundary: distance at which every class starts ("beta" in the paper).
    """
    return {"boundary": torch.full((num_classes,), boundary)}


def loss(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    margin: Annotated[float, "at least 0"] = 0.2,
    cutoff: Annotated[float, "above 0, below 2"] = 0.5,
    farthest: Annotated[float, "above 0, below 2"] = 1.4,
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: {"boundary": (C,)}.
        batch: B rows.
        margin: distance that a pair keeps from the boundary, at least 0 ("alpha" in the paper).
        cutoff: distance below which all negatives are weighed alike, in (0, 2).
        farthest: distance from which on negatives are left out, in (0, 2).

    Returns:
        () float; 0, with a gradient of 0, where no term is above 0.
    """
    pairs = _pairs.pairs_of(batch, batch)
    distance = _pairs.distances(pairs.similarity)  # (B, B)
    boundary = parameters["boundary"][batch.labels][:, None]
    share = sampling_weights(
        distance.detach(), pairs.negative, batch.embeddings.shape[1], cutoff, farthest
    )
    positive = batch.weights[:, None] * pairs.positive
    negative = positive.sum(dim=1, keepdim=True) * share
    attraction = (margin + distance - boundary).clamp_min(0)
    repulsion = (margin - distance + boundary).clamp_min(0)
    total = (positive * attraction + negative * repulsion).sum()
    count = (positive * (attraction > 0) + negative * (repulsion > 0)).sum()
    return total / count.clamp_min(1e-12)


def sampling_weights(
    distance: Tensor, negative: Tensor, embedding_dim: int, cutoff: float, farthest: float
) -> Tensor:
    """Computes each anchor's distance-weighted distribution over its negatives.

    Args:
        distance: (B, B) Euclidean distances, detached.
        negative: (B, B) weights of the negatives, 0 elsewhere.
        embedding_dim: d.
        cutoff: as in `loss`.
        farthest: as in `loss`.

    Returns:
        (B, B) float; a row sums to 1, or to 0 where the anchor has no negative near enough.
    """
    clipped = distance.clamp(min=cutoff)
    cap = (1 - clipped.square() / 4).clamp_min(torch.finfo(distance.dtype).eps)
    rarity = -(embedding_dim - 2) * clipped.log() - (embedding_dim - 3) / 2 * cap.log()
    candidates = negative * (distance < farthest)
    # In logarithms, less the largest: 1/f spans hundreds of orders of magnitude.
    rarity = torch.where(candidates > 0, rarity, -torch.inf)
    rarest = rarity.amax(dim=1, keepdim=True)
    mass = candidates * (rarity - torch.where(rarest.isfinite(), rarest, 0.0)).exp()
    return mass / mass.sum(dim=1, keepdim=True).clamp_min(1e-12)
