"""Hierarchical Triplet Loss: every triplet of the batch, with margins from a tree over classes.

    L = 1 / (2 Z) sum_{(a, p, n)} [|x_a - x_p|^2 - |x_a - x_n|^2 + alpha(y_a, y_n)]_+
    alpha(y_a, y_n) = margin + d_H(y_a, y_n) - s_{y_a}

over all Z triplets (a, p of one label, n of another), nothing mined. s_c = mean squared distance of
two rows of class c; d_H = the lowest threshold at which two classes share a node of the tree. So
far classes are pushed farther apart, loose anchor classes less. The tree merges the classes
bottom-up by the mean squared distance of their rows and is cut at the thresholds

    d_l = l (4 - d_0) / L + d_0,   l = 0..L,   d_0 = mean of s_c over the classes

Leaves are the classes; those nearer than d_0 share a node at level 0 already, so the least d_H is
d_0. Level L is one node whatever the distances. d_H and s come from `survey`, a look at all rows at
the start of every epoch, and stay constant during it; without a survey alpha = margin alone.
Without triplets the loss is 0 and so is its gradient. Inside the hinge L is linear in the
distances, so triplets are only counted, by chunks of anchors, and none outlives its chunk.

Batches are groups of a random class and its nearest ones: see `sample`.

Source: Ge, Huang, Dong, Scott, ECCV 2018, arXiv 1810.06951, after two reviews that agree; squared
distances as the thresholds, in [0, 4], want them. Our choice: average linkage (the paper leaves the
linkage open; "single" merges whatever {d < d_l} connects); d_H a threshold, not the height of the
merger; L as in a third-party implementation; 8 groups of 4 classes with 4 images each; a tree in
every epoch, the first one of the frozen features (the paper pre-trains with plain triplets). A
class in which fewer than two rows count has s_c = d_0, and one in which none counts meets the
others at level L. A triplet weighs the product of its three rows' weights, in Z too; the tree uses
the weights likewise, so rows that a selection has dropped do not shape it. alpha is below 0 where
the anchor's class is looser than d_H + margin, as where label noise differs between classes:
`facts` reports it, `clamp` forbids it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from cache.errors import InputError
from pipeline.losses import _anchor_neighbours, _class_tree, _pairs
from pipeline.program.batch import Batch

SAMPLER = "own"
SURVEYS = "epochs"
BATCH_SIZE = 128


def loss(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    margin: Annotated[float, "at least 0"] = 0.1,
    clamp: bool = False,
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: none are used.
        batch: B rows, with the survey.
        margin: squared distance, at least 0, on top of what the tree asks for ("beta").
        clamp: whether margins below 0 are lifted to 0.

    Returns:
        () float; 0, with a gradient of 0, where there is no triplet.
    """
    pairs = _pairs.pairs_of(batch, batch)
    far = 2 - 2 * pairs.similarity  # (B, B) squared distances
    positive = batch.weights[:, None] * pairs.positive
    alpha = torch.zeros_like(far) + margin
    if batch.survey is not None:
        alpha = margins(batch.labels, batch.survey, margin)
    if clamp:
        alpha = alpha.clamp_min(0)
    pulls, pushes = _pairs.count_open_triplets(far.detach(), positive, pairs.negative, alpha)
    total = (pulls * far).sum() - (pushes * (far - alpha)).sum()
    count = count_triplets(positive, pairs.negative)
    return total / (2 * torch.where(count > 0, count, 1.0))


def margins(labels: Tensor, survey: dict[str, Tensor], margin: float | Tensor) -> Tensor:
    """Looks up alpha(y_a, y_n) for each pair of labels, (B,) -> (B, B); see the module."""
    levels = _class_tree.meeting_levels(survey["ancestors"][labels])
    return margin + survey["thresholds"][levels] - survey["spread"][labels][:, None]


def count_triplets(positive: Tensor, negative: Tensor) -> Tensor:
    """Computes Z, the () sum of all triplets' weights, from the pairs' weights (B, B) each."""
    return (positive.sum(dim=1) * negative.sum(dim=1)).sum()


def survey(
    rows: Tensor,
    labels: Tensor,
    weights: Tensor,
    num_classes: int,
    generator: torch.Generator,
    *,
    levels: Annotated[int, "at least 1"] = 16,
    linkage: Literal["average", "single"] = "average",
    neighbours: Annotated[int, "at least 0"] = 3,
) -> dict[str, Tensor]:
    """Builds the tree over the classes. Holds a C x C matrix for as long as that takes.

    Args:
        rows: (N, *) unit norm.
        labels: (N,) int64, as given.
        weights: (N,) in [0, 1].
        num_classes: C.
        generator: not used.
        levels: L, thresholds above d_0, at least 1.
        linkage: "average", the mean over the rows of two nodes, or "single", their nearest classes.
        neighbours: nearest classes that join a class in a batch, at least 0 ("m - 1").

    Returns:
        {"ancestors": (C, L + 1) int64 node numbers, "thresholds": (L + 1,) d_l, "spread": (C,) s_c,
        "sizes": (C,) sum of the rows' weights, "nearest": (C, neighbours) int64 classes by
        distance, or -1 where there are too few}.
    """
    classes = _class_tree.describe(rows, labels, weights, num_classes)
    heights = _class_tree.thresholds(classes.spread, levels)  # (L + 1,)
    present = classes.sizes.nonzero().flatten()  # (P,)
    distance = _class_tree.distances(classes.means[present].to(rows))  # (P, P)
    near = torch.full((num_classes, neighbours), _anchor_neighbours.ABSENT)
    found = present[_class_tree.nearest(distance, neighbours).cpu()]
    near[present, : found.shape[1]] = found
    sizes, names = classes.sizes[present].numpy(), present.numpy()
    mergers = _class_tree.merge(distance.cpu().numpy(), sizes, linkage)
    mergers = mergers._replace(first=names[mergers.first], second=names[mergers.second])
    ancestors = _class_tree.cut(mergers, heights.numpy(), num_classes)
    spread = torch.where(classes.spread.isnan(), heights[0], classes.spread)
    return {
        "ancestors": torch.from_numpy(ancestors).to(rows.device),
        "thresholds": heights.to(rows),
        "spread": spread.to(rows),
        "sizes": classes.sizes.to(rows),
        "nearest": near.to(rows.device),
    }


def sample(
    labels: Tensor,
    batch_size: int,
    generator: torch.Generator,
    survey: dict[str, Tensor],
    *,
    images_per_class: Annotated[int, "at least 1"] = 4,
) -> Tensor:
    """Draws an epoch of batches: random classes, each with its nearest ones, a few rows of each.

    A batch takes l' = B // (m t) random classes as anchors, m - 1 = the survey's neighbours, and t
    rows of each class. Classes that come twice are taken once, and further random classes join with
    their neighbours until there are l' m, or all classes if these are fewer. A class with fewer
    than t rows leaves places absent.

    Departures, our choice: anchors are drawn from the classes with rows that this epoch has not
    shown yet, once all are shown from all classes, and a class shows all its rows before any comes
    again. There are as many steps as groups of t rows fill, about N / B. That every row is shown is
    not promised: near classes come more often. (Random rows in the numbers of Stanford Online
    Products, N = 59,551, C = 11,318: 69 % of them in an epoch, blind draws show about 63 %, and to
    show all would take 2.1 times the steps.) Rows of weight 0 are drawn too, as a selection may
    change its mind.

    Args:
        labels: (N,) int64, as given, on the CPU.
        batch_size: B, at least t m.
        generator: on the CPU.
        survey: of this epoch.
        images_per_class: t, rows of each class, at least 1.

    Returns:
        (steps, l' m t) int64 row numbers or -1 for an absent place.

    Raises:
        InputError: a batch is too small for one group.
    """
    group = 1 + survey["nearest"].shape[1]
    num_anchors = batch_size // (group * images_per_class)
    if num_anchors == 0:
        raise InputError(
            f"batch_size is {batch_size}: hierarchical-triplet needs at least {group} classes x "
            f"{images_per_class} rows = {group * images_per_class}; lower loss.neighbours or "
            "loss.images_per_class, or raise batch_size"
        )
    return _anchor_neighbours.epoch(
        labels,
        survey["nearest"].cpu(),
        generator,
        num_anchors=num_anchors,
        images_per_class=images_per_class,
    )


def facts(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    margin: Annotated[float, "at least 0"] = 0.1,
) -> dict[str, Tensor]:
    """Describes the tree of the latest survey; the same for every batch.

    Args:
        parameters: none are used.
        batch: with the survey; without one there is nothing to say.
        margin: as in `loss`.

    Returns:
        () figures over the classes with rows that count: "mean_spread" d_0; "merging_levels", at
        how many of the L + 1 levels something merges (a tree that label noise has flattened has
        few); "middle_nodes", the nodes at level L // 2; "negative_margins", the share of ordered
        pairs of classes with a margin below 0, before `clamp`.
    """
    if batch.survey is None:
        return {}
    ancestors, heights = batch.survey["ancestors"], batch.survey["thresholds"]
    present = (batch.survey["sizes"] > 0).to(heights.dtype)  # (C,)
    sizes = _class_tree.node_sizes(ancestors, present)  # (C, L + 1) by node
    nodes = (sizes > 0).sum(dim=0)  # (L + 1,)
    before = torch.cat([present.sum()[None], nodes[:-1]])
    # How many classes each class meets first at each level: no table of C x C is needed.
    reached = torch.cat([present[:, None], sizes.gather(0, ancestors)], dim=1)
    met = present[:, None] * reached.diff(dim=1)  # (C, L + 1)
    is_negative = margin + heights < batch.survey["spread"][:, None]
    return {
        "mean_spread": heights[0],
        "merging_levels": (nodes < before).sum().to(heights.dtype),
        "middle_nodes": nodes[(len(nodes) - 1) // 2].to(heights.dtype),
        "negative_margins": (met * is_negative).sum() / met.sum().clamp_min(1),
    }
