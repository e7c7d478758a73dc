"""kNN label share: drops the rows whose label is rare among their nearest neighbours.

    s_i = n_i(y_i) / max_c n_i(c)

n_i(c) = how many of row i's k nearest neighbours are labelled c, by cosine of the frozen features.
Rows with s_i below `threshold` get weight 0; no noise rate is needed. Dividing by the winning class
keeps small classes, which cannot fill k places.

A row is not its own neighbour, by row number. Exact copies of a row count once, under the label of
the first of them, and not at all for each other: they show the same image. A row without another
one in its class, its copies apart, cannot be judged and is kept (s = 1).

Source: kNN denoising, Galanakis, VISAPP 2024, as in the author's released code (threshold 0.5,
k = 200, features of the epoch before: `neighbours=200`, `space=head`). Departures, our choice: the
frozen features by default, so that rows are judged once and not by a head that has learned from
what was kept; also with `space=head` they judge before the first epoch; k = min(50, median class
size) unless given, for fine-grained classes are smaller than 200.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.measures.copies import first_copies
from pipeline.program.batch import Batch
from pipeline.selection._state import State, weigh

_TILE_ELEMENTS = 2**25  # similarities held at once, 128 MB of float32


def start(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    generator: torch.Generator,
    *,
    neighbours: Annotated[int, "at least 1"] | Literal["auto"] = "auto",
    threshold: Annotated[float, "at least 0, at most 1"] = 0.5,
) -> State:
    """Scores all rows by their neighbours' labels. The noise rate is the share that is dropped.

    Args:
        features: (N, F) centred.
        labels: (N,) int64, as given.
        num_classes: C.
        generator: not used.
        neighbours: k, at least 1, or "auto"; where there are fewer different rows, all of them.
        threshold: score in [0, 1] below which a row is dropped.
    """
    rows, first = functional.normalize(features, dim=1), first_copies(features)
    return _judge(rows, labels, num_classes, first, neighbours, threshold)


def refresh(
    state: State,
    embeddings: Tensor,
    labels: Tensor,
    num_classes: int,
    progress: float,
    *,
    neighbours: Annotated[int, "at least 1"] | Literal["auto"] = "auto",
    threshold: Annotated[float, "at least 0, at most 1"] = 0.5,
    space: Literal["frozen", "head"] = "frozen",
) -> State:
    """Scores all rows anew by their neighbours in the head's space, if that is wanted.

    Args:
        state: from `start`.
        embeddings: (N, D) unit norm, of the epoch before.
        labels: (N,) int64, as given.
        num_classes: C.
        progress: share of the training that is done, in [0, 1]; at 0 the head has learned nothing.
        neighbours: as in `start`.
        threshold: as in `start`.
        space: where neighbours are sought, "frozen" (the features, once) or "head".
    """
    if space == "frozen" or progress == 0:
        return state
    return _judge(
        embeddings, labels, num_classes, state.extras["first_copies"], neighbours, threshold
    )


def select(state: State, batch: Batch) -> tuple[Batch, State]:
    """Weighs the batch's rows as all rows were weighed last."""
    return weigh(state, batch), state


def label_shares(rows: Tensor, labels: Tensor, first: Tensor, neighbours: int) -> Tensor:
    """Computes s for unit rows (N, F) with the first copy (N,) of each: (N,) in [0, 1].

    Rows are compared in tiles, and only the labels of k neighbours are looked up: nothing of size
    N x N or N x C is held. 1 where all rows are copies of one.
    """
    different, place = torch.unique(first, return_inverse=True)  # (U,), (N,)
    candidates, candidate_labels = rows[different], labels[different]
    k = min(neighbours, len(different) - 1)
    if k == 0:
        return torch.ones_like(rows[:, 0])
    shares = []
    tile = max(1, _TILE_ELEMENTS // len(different))
    for at in range(0, len(rows), tile):
        part = slice(at, at + tile)
        similarity = rows[part] @ candidates.T  # (T, U)
        similarity.scatter_(1, place[part, None], -torch.inf)
        found = candidate_labels[similarity.topk(k, dim=1).indices]  # (T, k)
        most = (found == found.mode(dim=1, keepdim=True).values).sum(dim=1)
        own = (found == labels[part, None]).sum(dim=1)
        shares.append(own.to(rows.dtype) / most)
    return torch.cat(shares)


def _judge(
    rows: Tensor,
    labels: Tensor,
    num_classes: int,
    first: Tensor,
    neighbours: int | str,
    threshold: float,
) -> State:
    """Makes the state from unit rows (N, F), with the first copy (N,) of each."""
    k = _usual_neighbours(labels) if isinstance(neighbours, str) else neighbours
    scores = label_shares(rows, labels, first, k)
    scores = torch.where(_is_alone(labels, first, num_classes), 1.0, scores)
    weights = (scores >= threshold).to(scores.dtype)
    return State(weights, scores, 1 - weights.mean(), {"first_copies": first})


def _usual_neighbours(labels: Tensor) -> int:
    """Chooses k: the median size of the classes that have rows, at most 50."""
    sizes = labels.bincount()
    return min(50, int(sizes[sizes > 0].median()))


def _is_alone(labels: Tensor, first: Tensor, num_classes: int) -> Tensor:
    """Marks the rows of classes that hold copies of one row only, (N,) bool."""
    nobody = torch.zeros(num_classes, dtype=first.dtype, device=first.device)
    low = nobody.scatter_reduce(0, labels, first, "amin", include_self=False)
    high = nobody.scatter_reduce(0, labels, first, "amax", include_self=False)
    return (low == high)[labels]
