"""Nothing of size N x N or N x C: with many small classes the largest tensor grows with N."""

from __future__ import annotations

import pytest
import torch

from pipeline.audit import examples, kinds, neighbours, out_of_fold
from pipeline.audit.judging import judge
from pipeline.measures import label_posterior, neighbourhood

from ...allocations import Largest

TILE = 2**16  # elements
WIDTH = 8


def largest(num_classes: int) -> tuple[int, str]:
    """The most bytes of one tensor when classes of five images are audited."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(5 * num_classes) // 5
    centres = torch.randn(num_classes, WIDTH, generator=generator)
    features = centres[labels] + 0.1 * torch.randn(len(labels), WIDTH, generator=generator)
    with Largest() as seen:
        found = judge(features, labels, num_classes)
        examples.nearest_in(found.rows, labels, found.suggested, 6)
        kinds.is_out_of_set(found.rows, labels, found.near, num_classes)
        torn = kinds.is_torn(found.own_share, found.other_share)
        kinds.confused_pairs(torn, labels, found.suggested, num_classes)
    return seen.bytes, seen.operation


def test_the_largest_tensor_grows_with_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_TILE_ELEMENTS", TILE)
    monkeypatch.setattr(neighbourhood, "_TILE_ELEMENTS", TILE)
    monkeypatch.setattr(examples, "_TILE_ELEMENTS", TILE)
    monkeypatch.setattr(out_of_fold, "_TILE", 64)
    monkeypatch.setattr(label_posterior, "_TILE", 64)
    small, large = largest(120), largest(240)
    assert large[0] <= 2.05 * max(small[0], 4 * TILE), large[1]
    assert large[0] < 4 * 1200 * 240, large[1]  # a matrix of rows and classes
