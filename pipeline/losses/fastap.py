"""FastAP loss: one minus average precision, by soft histograms of the distances.

    L = 1 - (1/n) sum_i (1/N_i+) sum_l H_l+ h_l+ / H_l

For row i as the query, h_l+ = its positives in bin l, H_l+ and H_l = its positives and all its
partners in bins 0..l, N_i+ = its positives. Bins are centred on bins + 1 points from 0 to 4, the
range of squared distances of unit vectors; a pair lies in the two bins beside it, shared linearly.
n counts the rows that have a positive; a term with H_l = 0 is 0. Where every distance lies on a
centre of its own the average precision is exact; elsewhere a pair's two halves have two ranks, and
more bins do not undo that.

Source: Cakir, He, Xia, Kulis, Sclaroff, CVPR 2019 (from memory), and the authors' released code.
Departures, our choice: a partner's weight multiplies its share in the histograms, the query's
weight its term; samples are told apart by row number.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from pipeline.losses import _pairs
from pipeline.program.batch import Batch

SAMPLER = "balanced"
BATCH_SIZE = 64


def loss(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    bins: Annotated[int, "at least 1"] = 10,
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: none are used.
        batch: B rows.
        bins: number of steps between the bins' centres, at least 1.

    Returns:
        () float in [0, 1]; 0, with a gradient of 0, where no row has a positive.
    """
    pairs = _pairs.pairs_of(batch, batch)
    shares = bin_shares((2 - 2 * pairs.similarity).clamp(0, 4), bins)  # (B, B, bins + 1)
    positive = (pairs.positive[:, :, None] * shares).sum(dim=1)  # (B, bins + 1)
    negative = (pairs.negative[:, :, None] * shares).sum(dim=1)
    found = positive.cumsum(dim=1)
    seen = (positive + negative).cumsum(dim=1)
    precision = torch.where(seen > 0, found / torch.where(seen > 0, seen, 1.0), 0.0)
    num_positive = pairs.positive.sum(dim=1)
    average_precision = (precision * positive).sum(dim=1) / num_positive.clamp_min(1e-12)
    return _pairs.anchor_mean(1 - average_precision, batch.weights * (num_positive > 0))


def bin_shares(squared: Tensor, bins: int) -> Tensor:
    """Shares each squared distance, (B, M) in [0, 4], between its two bins: (B, M, bins + 1).

    Args:
        squared: squared distances.
        bins: as in `loss`.
    """
    centres = torch.linspace(0, 4, bins + 1, dtype=squared.dtype, device=squared.device)
    return (1 - (squared[:, :, None] - centres).abs() * (bins / 4)).clamp_min(0)
