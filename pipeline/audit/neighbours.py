"""Neighbours: which labels do the nearest other images have?

Each of the k nearest rows votes for its label with weight exp(scale (cosine - highest cosine)) and
its own weight; a row does not see itself, and exact copies count once (see `selection.knn`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.audit.evidence import BOUND, OTHERS, Evidence, joined
from pipeline.measures.neighbourhood import Neighbourhood

_TILE_ELEMENTS = 2**24  # cosines held at once, 64 MB
_PRIOR = 1e-3  # votes for and against that everybody has: no odds are infinite


def judge(
    near: Neighbourhood, labels: Tensor, weights: Tensor, num_classes: int, *, scale: float
) -> Evidence:
    """Let the neighbours of all rows vote.

    Args:
        near: of all rows.
        labels: (N,) int64.
        weights: (N,) in [0, 1], how much each row's vote counts.
        num_classes: C.
        scale: above 0; the higher, the more the nearest count.
    """
    is_alone = (labels.bincount(minlength=num_classes) < 2)[labels]
    tile = max(1, _TILE_ELEMENTS // max(1, near.rows.shape[1]) ** 2)
    parts = torch.split(torch.arange(len(labels), device=labels.device), tile)
    return joined(_votes(near, labels, weights, part, scale, is_alone[part]) for part in parts)


def _votes(
    near: Neighbourhood,
    labels: Tensor,
    weights: Tensor,
    part: Tensor,
    scale: float,
    is_alone: Tensor,
) -> Evidence:
    """Count the votes for each neighbour's label, (T, k) in place of (T, C)."""
    cosines, names = near.cosines[part], labels[near.rows[part]]  # (T, k)
    votes = (scale * (cosines - cosines[:, :1])).exp() * weights[near.rows[part]]
    same = names[:, :, None] == names[:, None, :]  # (T, k, k)
    sums = (same * votes[:, None, :]).sum(dim=2)
    is_repeated = same.tril(-1).any(dim=2)
    is_own = names == labels[part, None]
    own = (votes * is_own).sum(dim=1)
    total = votes.sum(dim=1) + 2 * _PRIOR
    best = sums.masked_fill(is_own | is_repeated, 0).topk(min(OTHERS, names.shape[1]), dim=1)
    against = (votes.sum(dim=1) - own + _PRIOR).log() - (own + _PRIOR).log()
    return Evidence(
        against.clamp(-BOUND, BOUND).masked_fill(is_alone, torch.nan),
        own / total,
        names.gather(1, best.indices).masked_fill(best.values <= 0, -1),
        best.values / total[:, None],
    )
