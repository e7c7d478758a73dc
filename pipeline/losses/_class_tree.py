"""A tree over classes: how far they lie apart, which merge at which level, and what they share.

Distances are squared Euclidean ones of unit rows, in [0, 4], and means over all pairs of rows. With
mu_c = sum w_i r_i / W_c, W_c = sum w_i over the rows of class c, they have closed forms, so that no
pair of rows is ever formed:

    d(p, q) = sum_{i in p, j in q} w_i w_j |r_i - r_j|^2 / (W_p W_q) = 2 - 2 mu_p . mu_q
    s_c = sum_{i != j in c} w_i w_j |r_i - r_j|^2 / sum_{i != j in c} w_i w_j
        = 2 - 2 (W_c^2 |mu_c|^2 - Q_c) / (W_c^2 - Q_c),   Q_c = sum w_i^2

The weighted forms are our choice: a pair weighs the product of its rows' weights, so that weights
of 1 give the means over all pairs and a row of weight 0 is absent.

The tree is kept as its C - 1 mergers, and cut at L + 1 thresholds into a (C, L + 1) table; nothing
else of it is needed in a step. Only `distances` and `merge` hold a C x C matrix.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

Linkage = Literal["average", "single"]
Floats = NDArray[np.floating]
_TILE = 4096
_NOWHERE = 1e30  # farther than anything, and still finite when it is averaged


class Classes(NamedTuple):
    """What is known of each class, float64 on the CPU.

    Attributes:
        means: (C, D) mean rows, shorter than 1; 0 for a class without rows.
        sizes: (C,) the sum W of the rows' weights; 0 for a class without rows.
        spread: (C,) in [0, 4], s above; NaN where fewer than two rows count.
    """

    means: Tensor
    sizes: Tensor
    spread: Tensor


class Mergers(NamedTuple):
    """The C - 1 mergers of a tree, in no particular order.

    Attributes:
        first: (C - 1,) int64, a class of one of the two nodes that merge.
        second: (C - 1,) int64, a class of the other one.
        height: (C - 1,) float64, the distance at which they merge.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    height: Floats


def describe(rows: Tensor, labels: Tensor, weights: Tensor, num_classes: int) -> Classes:
    """Forms the mean and the spread of every class.

    Args:
        rows: (N, D) unit norm.
        labels: (N,) int64.
        weights: (N,) in [0, 1].
        num_classes: C.
    """
    totals = rows.new_zeros(num_classes, rows.shape[1])
    for at in range(0, len(rows), _TILE):
        part = slice(at, at + _TILE)
        totals.index_add_(0, labels[part], rows[part] * weights[part, None].to(rows.dtype))
    # In double precision, which not every device has: spreads are small differences of large sums.
    totals, labels, weights = totals.cpu().double(), labels.cpu(), weights.cpu().double()
    sizes = torch.bincount(labels, weights, num_classes)
    own = torch.bincount(labels, weights.square(), num_classes)
    pairs = sizes.square() - own
    cosine = (totals.square().sum(dim=1) - own) / pairs
    spread = (2 - 2 * cosine).clamp(0, 4).masked_fill(pairs <= 0, torch.nan)
    return Classes(totals / torch.where(sizes > 0, sizes, 1.0)[:, None], sizes, spread)


def thresholds(spread: Tensor, levels: int) -> Tensor:
    """Spaces the levels of the tree evenly: d_l = l (4 - d_0) / L + d_0, l = 0..L.

    Args:
        spread: (C,) of `Classes`; its mean is d_0, or 0 where no class has one (our choice).
        levels: L, at least 1.

    Returns:
        (L + 1,) float64; the last is 4.
    """
    mean = spread.nanmean().nan_to_num(0.0)
    return mean + (4 - mean) * torch.arange(levels + 1) / levels


def distances(means: Tensor) -> Tensor:
    """Computes d between all pairs of classes from their means (C, D): (C, C), symmetric."""
    size = len(means)
    distance = means.new_empty(size, size)
    for at in range(0, size, _TILE):
        own = means[at : at + _TILE]
        tile = (2 - 2 * own @ means[at:].T).clamp_min(0)  # (T, C - at)
        # To the last bit: whoever merges by nearest neighbours must not go round in circles.
        tile[:, : len(own)] = torch.minimum(tile[:, : len(own)], tile[:, : len(own)].T)
        distance[at : at + _TILE, at:] = tile
        distance[at:, at : at + _TILE] = tile.T
    return distance


def nearest(distance: Tensor, count: int) -> Tensor:
    """Finds each class's nearest other ones: (C, C) -> (C, min(count, C - 1)), nearest first.

    Args:
        distance: (C, C); its diagonal is overwritten.
        count: how many.
    """
    distance.fill_diagonal_(torch.inf)
    return distance.topk(min(count, max(len(distance) - 1, 0)), dim=1, largest=False).indices


def merge(distance: Floats, sizes: Floats, linkage: Linkage) -> Mergers:
    """Merges the two nearest nodes until one is left, by chains of nearest neighbours.

    A chain goes from a node to its nearest one, on to that one's nearest, until two are each
    other's; these merge at once. For both linkages the order does not matter for the tree, and all
    takes about C^2 time. (SciPy has the same algorithm, but its nodes all begin with size 1.)

    Args:
        distance: (C, C) symmetric; it is overwritten.
        sizes: (C,) above 0, what each class weighs in an average.
        linkage: "average", the mean distance of two nodes' rows, or "single", the distance of their
            nearest classes.

    Source: Muellner, arXiv 1109.2378, sections 2 and 3.2 (recollection).
    """
    sizes = sizes.astype(np.float64)
    np.fill_diagonal(distance, _NOWHERE)
    mergers: list[tuple[int, int, float]] = []
    chain: list[int] = []
    first_left = 0
    while len(mergers) < len(distance) - 1:
        if not chain:
            while sizes[first_left] == 0:
                first_left += 1
            chain = [first_left]
        gone, kept = _end_of_chain(distance, chain)
        mergers.append((gone, kept, float(distance[gone, kept])))
        joint = _joint(distance[gone], distance[kept], sizes[gone], sizes[kept], linkage)
        joint[[gone, kept]] = _NOWHERE
        distance[kept] = distance[:, kept] = joint
        distance[:, gone] = _NOWHERE
        sizes[kept] += sizes[gone]
        sizes[gone] = 0
    first, second, height = zip(*mergers, strict=True) if mergers else ((), (), ())
    return Mergers(np.array(first, np.int64), np.array(second, np.int64), np.array(height, float))


def _end_of_chain(distance: Floats, chain: list[int]) -> tuple[int, int]:
    """Goes on with the chain to two nodes that are each other's nearest, and takes them off."""
    while True:
        last = distance[chain[-1]]
        following = int(last.argmin())
        # At a tie back to where it came from, or it would never end.
        if len(chain) > 1 and last[chain[-2]] <= last[following]:
            return chain.pop(), chain.pop()
        chain.append(following)


def _joint(one: Floats, other: Floats, size: float, other_size: float, linkage: Linkage) -> Floats:
    """Computes the distances (C,) of two nodes' union to all nodes (Lance, Williams)."""
    nearer = np.minimum(one, other)
    if linkage == "single":
        return nearer
    share = one.dtype.type(size / (size + other_size))
    # Rounding must not bring the union nearer than either part was: chains rely on it.
    joint: Floats = np.maximum(share * one + (1 - share) * other, nearer)
    return joint


def cut(mergers: Mergers, heights: Floats, num_classes: int) -> NDArray[np.int64]:
    """Cuts the tree at each level: nodes nearer than its threshold are one node.

    Two classes that share a node share one at all higher levels; at the last all share one.

    Args:
        mergers: of classes in 0..C-1; one that is in none stands alone below the last level.
        heights: (L + 1,) rising thresholds.
        num_classes: C.

    Returns:
        (C, L + 1) int64 in 0..C-1, the number of each class's node at each level.
    """
    ancestors = np.zeros((num_classes, len(heights)), np.int64)
    for level, height in enumerate(heights[:-1]):
        is_below = mergers.height < height
        ends = mergers.first[is_below], mergers.second[is_below]
        links = coo_array((np.ones(len(ends[0]), bool), ends), shape=(num_classes, num_classes))
        ancestors[:, level] = connected_components(links, directed=False)[1]
    return ancestors


def meeting_levels(ancestors: Tensor) -> Tensor:
    """Finds the lowest level at which two share a node: (B, L + 1) -> (B, B) int64 in 0..L."""
    return (ancestors[:, None, :] != ancestors[None, :, :]).sum(dim=2)


def node_sizes(ancestors: Tensor, counts: Tensor) -> Tensor:
    """Counts the classes in each node of each level.

    Args:
        ancestors: (C, L + 1).
        counts: (C,) float, 1 for a class that counts, else 0.

    Returns:
        (C, L + 1) by node number; 0 for numbers without a node.
    """
    counts = counts[:, None].expand(ancestors.shape)
    return torch.zeros_like(counts).scatter_add(0, ancestors, counts)
