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
than `knn` or `prism`. A class with fewer than three different rho is in subset 0 as a whole, with
score 1. A class with fewer than `smallest_class` rows says nothing about density: its rows are
judged by their neighbours of all classes, with the label share s of `knn` as score; subset 0 is
s >= 0.5, subset 2 is s = 0, subset 1 the rest. With fewer than three epochs the late stages do not
take place.

Source: CurriculumNet, Guo et al., ECCV 2018, arXiv 1808.01097; the density is that of the released
code, the weights 1, 0.5, 0.5 are from memory. Departures, our choice: unit-norm frozen features in
place of a network trained on all rows, hence without their reduction to 256 dimensions; k-means
solved exactly; distances equal to the cutoff up to rounding do not count; the rule for small
classes; the options `split` and `weighting`; equal stages; one cosine for the learning rate. The
released code keeps about half of each later batch clean; here batches are the loss's own, and the
weights do it on average: with 1, 0.5, 0.5 at least half of all weight lies on subset 0 as long as
it holds a third of the rows.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.program.batch import Batch
from pipeline.selection import _density, knn
from pipeline.selection._state import State, keep_everything, weigh

# Of subsets 0 and 1 in the split of WebVision's classes 0-9 that came with the released code:
# 13,471 and 8,352 of 25,744 rows.
_GLOBAL_SHARES = (0.523, 0.324)
_ENOUGH = 0.5  # the threshold of `knn`


def start(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    generator: torch.Generator,
    *,
    density: Annotated[float, "above 0, at most 1"] = 0.6,
    split: Literal["class", "global"] = "class",
    smallest_class: Annotated[int, "at least 1"] = 12,
    small_classes: Literal["neighbours", "keep"] = "neighbours",
    weighting: Literal["subset", "density"] = "subset",
) -> State:
    """Divides the rows into subsets and begins with the first stage.

    Args:
        features: (N, F) centred.
        labels: (N,) int64, as given.
        num_classes: C.
        generator: not used.
        density: share of a class's n^2 distances below the cutoff distance, in (0, 1].
        split: "class" finds three groups of rho within each class, whether it has wrong labels or
            not; "global" ranks rho / n over all classes and cuts it 52 : 32 : 15, the shares of
            the split that was released for WebVision, so that clean classes keep more.
        smallest_class: rows from which on a class's density is trusted, at least 1.
        small_classes: what becomes of the others: "neighbours" judges their rows as above, "keep"
            puts them into subset 0 with score 1.
        weighting: "subset" gives the rows that have entered the weight of their subset, "density"
            that weight times their score.
    """
    rows = functional.normalize(features, dim=1)
    scores, groups, is_divided = _by_density(rows, labels, num_classes, density, smallest_class)
    subset = torch.zeros_like(labels)
    if split == "class":
        subset = torch.where(is_divided, groups, subset)
    elif is_divided.any():
        subset[is_divided] = _density.groups_by_share(scores[is_divided], *_GLOBAL_SHARES)
    is_small = labels.bincount(minlength=num_classes)[labels] < smallest_class
    if small_classes == "neighbours" and is_small.any():
        shares = knn.start(features, labels, num_classes, generator).scores
        level = torch.where(shares >= _ENOUGH, 0, torch.where(shares > 0, 1, 2))
        subset, scores = (
            torch.where(is_small, theirs, ours)
            for theirs, ours in ((level, subset), (shares, scores))
        )
    unknown = keep_everything(labels).noise_rate
    state = State(torch.ones_like(scores), scores, unknown, {"subset": subset})
    return _enter(state, [1.0, 0.0, 0.0], weighting)


def refresh(
    state: State,
    embeddings: Tensor,
    labels: Tensor,
    num_classes: int,
    progress: float,
    *,
    noisy_weight: Annotated[float, "at least 0, at most 1"] = 0.5,
    highly_noisy_weight: Annotated[float, "at least 0, at most 1"] = 0.5,
    weighting: Literal["subset", "density"] = "subset",
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
        weighting: as in `start`.
    """
    stage = [1.0, noisy_weight * (progress >= 1 / 3), highly_noisy_weight * (progress >= 2 / 3)]
    return _enter(state, stage, weighting)


def select(state: State, batch: Batch) -> tuple[Batch, State]:
    """Weighs the batch's rows as the stage says."""
    return weigh(state, batch), state


def _enter(state: State, stage: list[float], weighting: str) -> State:
    """Weighs all rows by the weights that the three subsets have in a stage."""
    weights = state.scores.new_tensor(stage)[state.extras["subset"]]
    return state._replace(weights=weights * state.scores if weighting == "density" else weights)


def _by_density(
    rows: Tensor, labels: Tensor, num_classes: int, density: float, smallest_class: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Measures the density of the unit rows (N, F) of each class that is large enough.

    Returns:
        (N,) rho / n in [0, 1) and (N,) int64 group within the class in 0..2, both of use only where
        (N,) bool says that the class could be divided; elsewhere 1 and 0.
    """
    scores, groups = torch.ones_like(rows[:, 0]), torch.zeros_like(labels)
    is_divided = torch.zeros_like(labels, dtype=torch.bool)
    sizes = labels.bincount(minlength=num_classes).tolist()
    for members in torch.split(labels.argsort(stable=True), sizes):
        if len(members) < smallest_class:
            continue
        rho = _density.densities(rows[members], density)
        if len(torch.unique(rho)) < 3:
            continue
        groups[members] = _density.three_groups(rho)
        scores[members] = rho.to(scores.dtype) / len(members)
        is_divided[members] = True
    return scores, groups, is_divided
