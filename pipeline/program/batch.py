"""What one training step shows to a selection and to a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from pipeline.program.memory import Memory


class Batch(NamedTuple):
    """One batch of one run.

    Attributes:
        embeddings: (B, D) float, unit norm.
        labels: (B,) int64 in 0..C-1, as given: they may be wrong.
        rows: (B,) int64, row numbers in the training split: a sample's identity. Equal row
            numbers are one sample, whatever the values.
        weights: (B,) float in [0, 1]; 0 = the row counts as absent.
        memory: embeddings of earlier or of all rows, for losses with `MEMORY = True`.
        confidences: (B, C) float in [0, 1], how far each row belongs to each class, from a
            selection that knows; None where only the given label is known.
        survey: what the loss's own `survey` has found in all rows; None where it has none.
        tap: what the cosines pass through on their way into the loss, as `tap(kind, cosines)`; the
            kind says what the rows are compared with: "batch" (B, B), "memory" (B, M) or "proxies"
            (B, C). None in training; `dml probe` reads gradients there.
    """

    embeddings: Tensor
    labels: Tensor
    rows: Tensor
    weights: Tensor
    memory: Memory | None = None
    confidences: Tensor | None = None
    survey: dict[str, Tensor] | None = None
    tap: Callable[[str, Tensor], Tensor] | None = None


def tapped(batch: Batch, kind: str, cosines: Tensor) -> Tensor:
    """Lets the cosines pass through the batch's tap, if it has one."""
    return cosines if batch.tap is None else batch.tap(kind, cosines)
