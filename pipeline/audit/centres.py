"""Class centres: does a row lie nearer to another class than to its own, itself left out?

The softmax over the cosines with the class centres, each row left out of its own centre, with the
scale that explains the given labels best. Rows count in their centre by their weights.
"""

from __future__ import annotations

from torch import Tensor

from pipeline.audit.evidence import Evidence, joined, of_logits
from pipeline.measures import label_posterior


def judge(
    rows: Tensor, labels: Tensor, weights: Tensor, num_classes: int, *, scale: float
) -> Evidence:
    """Compare all rows with all centres, tile by tile.

    Args:
        rows: (N, F) unit norm.
        labels: (N,) int64.
        weights: (N,) in [0, 1], how much each row counts in its centre.
        num_classes: C.
        scale: of the softmax, above 0.
    """
    tiles = label_posterior.tiles(rows, labels, weights, num_classes)
    return joined(of_logits(scale * cosines, y, unknown) for cosines, y, unknown in tiles)
