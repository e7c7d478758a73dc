"""The nearest images of a row in its given and in its suggested class."""

from __future__ import annotations

import torch
from torch import Tensor

_TILE_ELEMENTS = 2**22  # cosines held at once, 16 MB


def nearest_in(rows: Tensor, labels: Tensor, classes: Tensor, count: int) -> Tensor:
    """Find for each row its nearest rows, itself left out, among those labelled with one class.

    Args:
        rows: (N, F) unit norm.
        labels: (N,) int64.
        classes: (N,) int64, where each row looks; a class without rows gives nothing.
        count: how many to find at most.

    Returns:
        (N, count) int64 row numbers, nearest first; -1 where there are no more.
    """
    found = torch.full((len(rows), count), -1, device=rows.device)
    members, starts = _grouped(labels, int(max(labels.max(), classes.max())) + 1)
    seekers, first = _grouped(classes, len(starts) - 1)
    for number in range(len(starts) - 1):
        inside = members[starts[number] : starts[number + 1]]
        asking = seekers[first[number] : first[number + 1]]
        if len(inside) and len(asking):
            for part in torch.split(asking, max(1, _TILE_ELEMENTS // len(inside))):
                cosines = rows[part] @ rows[inside].T
                cosines.masked_fill_(part[:, None] == inside, -torch.inf)
                best = cosines.topk(min(count, len(inside)), dim=1)
                chosen = inside[best.indices].masked_fill(best.values.isinf(), -1)
                found[part, : chosen.shape[1]] = chosen
    return found


def _grouped(labels: Tensor, num_classes: int) -> tuple[Tensor, list[int]]:
    """Order rows by label, and tell where each label begins, (C + 1,)."""
    sizes = labels.bincount(minlength=num_classes)
    starts = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]).tolist()
    return labels.argsort(stable=True), starts
