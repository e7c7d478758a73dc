"""Rows whose features are close: all pairs with a cosine of at least a threshold, in tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.measures.components import Pairs
from pipeline.measures.nearest import cosines

# Multiply-adds, N N F / 2: 100,000 rows of 2,048 features, 125,000 of 1,280. That is two minutes
# at the 190 GFLOP/s that `cosines` has reached on two cores.
EXACT_WORK = 10**13
TILE_BYTES = 2**26
_PAIRS_AT_ONCE = 4096
_MOST_LANDMARKS = 4096

Features = NDArray[np.floating]


def is_quick(num_rows: int, num_features: int, *, exact_work: int = EXACT_WORK) -> bool:
    """Tell whether the exact search is a matter of minutes."""
    return num_rows**2 * num_features <= 2 * exact_work


def unit_rows(values: Features) -> Tensor:
    """Return values (n, F) of any float type as float32 rows of length 1; zeros stay zeros."""
    return functional.normalize(torch.from_numpy(np.asarray(values, np.float32)), dim=1)


def exact_pairs(
    values: Features,
    threshold: float,
    *,
    tile_bytes: int = TILE_BYTES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Pairs]:
    """Find all pairs of rows with a cosine of at least the threshold.

    Costs N N F / 2 multiply-adds; beside a float32 copy of the values one tile of cosines is in
    memory, and at most four times as much for its pairs.

    Args:
        values: (N, F) floats.
        threshold: a cosine in (0, 1].
        tile_bytes: memory of a tile; a tile has at least one row and four columns.
        progress: is called with the rows done and N.

    Yields:
        (P, 2) int64 rows, lower first.
    """
    unit = unit_rows(values)
    # Both sides in blocks: products of few rows with all others took up to twice as long.
    height = max(1, int((tile_bytes / 16) ** 0.5))
    for top in range(0, len(unit), height):
        for left in range(top, len(unit), 4 * height):
            yield _pairs_in_tile(unit, top, left, height, threshold)
        progress(min(top + height, len(unit)), len(unit))


def _pairs_in_tile(unit: Tensor, top: int, left: int, height: int, threshold: float) -> Pairs:
    """Return the near pairs of a tile of `height` rows and four times as many columns."""
    found = cosines(unit[top : top + height], unit[left : left + 4 * height]).numpy()
    # The maximum of a row is found much faster than its places above a threshold.
    rows = np.flatnonzero(found.max(axis=1) >= threshold)
    at, columns = np.nonzero(found[rows] >= threshold)
    first, second = rows[at] + top, columns + left
    is_above = second > first
    return np.column_stack([first[is_above], second[is_above]])


def pair_cosines(values: Features, pairs: Pairs) -> NDArray[np.float32]:
    """Return the cosine of each pair (P, 2) of rows of values (N, F): (P,)."""
    found = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        part = pairs[start : start + _PAIRS_AT_ONCE]
        left, right = unit_rows(values[part[:, 0]]), unit_rows(values[part[:, 1]])
        found[start : start + len(part)] = (left * right).sum(dim=1).numpy()
    return found


def closest_in_group(
    values: Features,
    rows: NDArray[np.int64],
    marks: NDArray[np.int64] | None = None,
    *,
    landmarks: int = _MOST_LANDMARKS,
) -> tuple[NDArray[np.int64], NDArray[np.float32], float]:
    """Compare the rows of a group with each other.

    In a group of more than `landmarks` rows each row is compared with so many of them, evenly
    chosen, so that the cost is n F `landmarks` at most.

    Args:
        values: (N, F) features of all rows.
        rows: (n,) the group's rows, two at least.
        marks: (n,) what a row's closest row has to differ in, such as its split; None is nothing.
        landmarks: at least 2.

    Returns:
        for each row the closest other one, (n,) row numbers, -1 where there is none; its cosine,
        (n,), -inf where there is none; and the smallest cosine in the group.
    """
    chosen = np.arange(len(rows))
    if len(rows) > landmarks:
        chosen = np.linspace(0, len(rows) - 1, landmarks).astype(np.int64)
    others = unit_rows(values[rows[chosen]])
    closest, largest = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
    smallest = 1.0
    size = max(1, TILE_BYTES // (4 * len(chosen)))
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        found = cosines(unit_rows(values[rows[part]]), others).numpy()
        smallest = min(smallest, float(found.min()))
        found[rows[part, None] == rows[chosen]] = -np.inf
        if marks is not None:
            found[marks[part, None] == marks[chosen]] = -np.inf
        best = found.argmax(axis=1)
        largest[part] = found[np.arange(len(found)), best]
        closest[part] = np.where(np.isneginf(largest[part]), -1, rows[chosen[best]])
    return closest, largest, smallest
