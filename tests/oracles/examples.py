"""Batches for the tests of this folder: points at chosen angles, and random ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.program.batch import Batch
from pipeline.program.memory import Memory

from . import pairs

Weights = Literal["ones", "binary", "fractional"]


def at_angles(degrees: Sequence[float]) -> Tensor:
    """Unit vectors in the plane, (B, 2) float64."""
    radians = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def batch_at(degrees: Sequence[float], labels: Sequence[int]) -> Batch:
    """Rows of weight 1 at angles."""
    return Batch(
        embeddings=at_angles(degrees),
        labels=torch.tensor(labels),
        rows=torch.arange(len(labels)),
        weights=torch.ones(len(labels), dtype=torch.float64),
    )


def unit_rows(rows: int, dim: int, generator: torch.Generator) -> Tensor:
    vectors = torch.randn(rows, dim, dtype=torch.float64, generator=generator)
    return functional.normalize(vectors, dim=1)


def random_weights(rows: int, kind: Weights, generator: torch.Generator) -> Tensor:
    """(B,) float64: all 1; 0 or 1; or anything between with some exact 0 and 1."""
    uniform = torch.rand(rows, dtype=torch.float64, generator=generator)
    if kind == "ones":
        return torch.ones_like(uniform)
    if kind == "binary":
        return (uniform > 0.4).double()
    return (1.6 * uniform - 0.3).clamp(0, 1)


def random_batch(
    seed: int, *, rows: int = 14, num_classes: int = 4, dim: int = 3, weights: Weights = "ones"
) -> Batch:
    """A float64 batch with a memory of 3B slots (some empty) and confidences.

    One sample is in the batch twice, two samples are exact copies under different row numbers, and
    the memory holds some of the batch's own rows.
    """
    generator = torch.Generator().manual_seed(seed)
    embeddings = unit_rows(rows, dim, generator)
    embeddings[2] = embeddings[1] = embeddings[0]
    index = torch.arange(rows) + 5
    index[1] = index[0]
    labels = torch.randint(num_classes, (rows,), generator=generator)
    labels[1] = labels[0]
    slots = torch.arange(3 * rows)
    memory = Memory(
        embeddings=unit_rows(3 * rows, dim, generator),
        labels=torch.randint(num_classes, (3 * rows,), generator=generator),
        rows=torch.where(slots % 5 == 0, -1, slots),
        weights=random_weights(3 * rows, weights, generator) * (slots % 5 > 0),
        pointer=torch.tensor(0),
    )
    confidences = torch.rand(rows, num_classes, dtype=torch.float64, generator=generator)
    row_weights = random_weights(rows, weights, generator)
    return Batch(embeddings, labels, index, row_weights, memory, confidences)


def plain(rows: Batch | Memory) -> pairs.Rows:
    """The same rows for the loops."""
    return pairs.Rows(
        np.asarray(rows.embeddings),
        np.asarray(rows.labels),
        np.asarray(rows.rows),
        np.asarray(rows.weights),
    )


def noisy_classes(
    seed: int, noise_rate: float, rows: int = 600, classes: int = 8
) -> tuple[Tensor, Tensor, Tensor]:
    """Gaussian classes, labels flipped to any other: features, given labels, which flipped."""
    generator = torch.Generator().manual_seed(seed)
    true = torch.arange(rows) % classes
    centres = torch.randn(classes, 24, generator=generator)
    features = centres[true] + 0.7 * torch.randn(rows, 24, generator=generator)
    is_flipped = torch.rand(rows, generator=generator) < noise_rate
    other = (true + torch.randint(1, classes, (rows,), generator=generator)) % classes
    return features, torch.where(is_flipped, other, true), is_flipped
