"""Curriculum by density: rows that lie densely in their class first, sparse ones later and weaker.

Within each class, as labelled, rho_i counts the rows closer to row i than a cutoff distance
(`_density`). Three groups of rho, by one-dimensional k-means, are subsets 0 (dense, taken for
clean), 1 (noisy) and 2 (highly noisy). Training has three stages of equal length:

    stage    subset 0   subset 1       subset 2
    1        1          0              0
    2        1          noisy_weight   0
    3        1          noisy_weight   highly_noisy_weight

This is a curriculum, not a detector of wrong labels: rows are left out in the early stages only and
all count in the end; the score rho_i / n ignores other classes and finds wrong labels far worse
than `knn` or `prism`. A class with fewer than `smallest_class` rows, or with fewer than three
different rho, says nothing about density: it is in subset 0 as a whole, with score 1. With fewer
than three epochs the late stages do not take place.

Source: CurriculumNet, Guo et al., ECCV 2018, arXiv 1808.01097; the density is that of the released
code, the weights 1, 0.5, 0.5 are from memory. Departures, our choice: unit-norm frozen features in
place of a network trained on all rows, hence without their reduction to 256 dimensions; k-means
solved exactly; distances equal to the cutoff up to rounding do not count; small classes kept whole;
equal stages; the loss's own batches instead of half-clean ones and one cosine for the learning
rate.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.program.batch import Batch
from pipeline.selection import _density
from pipeline.selection._state import State, keep_everything, weigh


def start(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    generator: torch.Generator,
    *,
    density: Annotated[float, "above 0, at most 1"] = 0.6,
    smallest_class: Annotated[int, "at least 1"] = 12,
) -> State:
    """Divides every class into subsets and begins with the first stage.

    Args:
        features: (N, F) centred.
        labels: (N,) int64, as given.
        num_classes: C.
        generator: not used.
        density: share of a class's n^2 distances below the cutoff distance, in (0, 1].
        smallest_class: rows from which on a class is divided, at least 1.
    """
    rows = functional.normalize(features, dim=1)
    subset, scores = torch.zeros_like(labels), torch.ones_like(rows[:, 0])
    sizes = labels.bincount(minlength=num_classes).tolist()
    for members in torch.split(labels.argsort(stable=True), sizes):
        if len(members) < smallest_class:
            continue
        rho = _density.densities(rows[members], density)
        if len(torch.unique(rho)) < 3:
            continue
        subset[members] = _density.three_groups(rho)
        scores[members] = rho.to(scores.dtype) / len(members)
    unknown = keep_everything(labels).noise_rate
    return State((subset == 0).to(rows.dtype), scores, unknown, {"subset": subset})


def refresh(
    state: State,
    embeddings: Tensor,
    labels: Tensor,
    num_classes: int,
    progress: float,
    *,
    noisy_weight: Annotated[float, "at least 0, at most 1"] = 0.5,
    highly_noisy_weight: Annotated[float, "at least 0, at most 1"] = 0.5,
) -> State:
    """Gives every row the weight that its subset has in the current stage.

    Args:
        state: from `start`.
        embeddings: not used.
        labels: not used.
        num_classes: not used.
        progress: share of the training that is done, in [0, 1].
        noisy_weight: of subset 1 from the second third on, in [0, 1].
        highly_noisy_weight: of subset 2 from the last third on, in [0, 1].
    """
    stage = [1.0, noisy_weight * (progress >= 1 / 3), highly_noisy_weight * (progress >= 2 / 3)]
    return state._replace(weights=state.weights.new_tensor(stage)[state.extras["subset"]])


def select(state: State, batch: Batch) -> tuple[Batch, State]:
    """Weighs the batch's rows as the stage says."""
    return weigh(state, batch), state
