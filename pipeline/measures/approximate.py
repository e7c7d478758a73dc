"""Near rows among too many for all pairs: FAISS, and what it misses, measured by exact search."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline.measures.components import Pairs
from pipeline.measures.near_features import Features, pair_cosines, unit_rows

_BLOCK = 4096  # rows that are searched, or widened to float32, at a time
_PROBED = 16  # cells that are searched for each row
_TRAINED_ON = 40  # rows for each cell; FAISS warns below 39
_ROUNDS = 10  # of k-means: near rows meet in a cell whether or not it is the best one
_ROUNDING = 2e-3  # of cosines of float16 rows; what is found is compared again in float32


class Recall(NamedTuple):
    """What the approximate search found of what exact search finds, for a sample of rows.

    A pair is looked for from both of its rows, here from one: so this is a lower bound.

    Attributes:
        rows: how many rows were sampled.
        pairs: neighbours at the threshold or above it that they have.
        found: how many of those the index returned.
        nearest: share of the rows whose nearest row the index returned, however far it is.
    """

    rows: int
    pairs: int
    found: int
    nearest: float


class ApproximateSearch:
    """An inverted file of float16 rows, see `inverted_file`."""

    def __init__(
        self,
        values: Features,
        *,
        seed: int = 0,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Divide the rows among the cells.

        Args:
            values: (N, F) floats, kept as they are.
            seed: of the rows that the cells and `recall` are made with.
            progress: is called with the rows entered and N.
        """
        self._values = values
        self._generator = np.random.default_rng(seed)
        self._index = inverted_file(values, self._generator, progress=progress)

    def pairs(
        self,
        threshold: float,
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Iterator[Pairs]:
        """Find pairs of rows with a cosine of at least the threshold, most of them.

        Yields:
            (P, 2) int64 rows, lower first; a pair may come twice.
        """
        num_rows = len(self._values)
        for start in range(0, num_rows, _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, num_rows))
            found = np.sort(self._near(rows, threshold), axis=1)
            yield found[pair_cosines(self._values, found) >= threshold]
            progress(int(rows[-1]) + 1, num_rows)

    def recall(self, threshold: float, *, rows: int = 1000) -> Recall:
        """Search a sample of rows exactly, too, and compare: N F `rows` multiply-adds."""
        sample = self._sample(rows)
        pairs, nearest = self._exact(sample, threshold)
        found = set(map(tuple, self._near(sample, threshold).tolist()))
        unit = unit_rows(self._values[sample]).numpy()
        _, two = self._index.search(unit, 2)  # itself and another
        return Recall(
            rows=len(sample),
            pairs=len(pairs),
            found=sum(pair in found for pair in map(tuple, pairs.tolist())),
            nearest=float((two == nearest[:, None]).any(axis=1).mean()),
        )

    def _near(self, rows: NDArray[np.int64], threshold: float) -> Pairs:
        """Ask the index for the neighbours of rows (n,): (P, 2), the asking row first."""
        unit = unit_rows(self._values[rows]).numpy()
        limits, _, found = self._index.range_search(unit, threshold - _ROUNDING)
        limits = limits.astype(np.int64)  # unsigned
        left, right = np.repeat(rows, limits[1:] - limits[:-1]), found.astype(np.int64)
        is_other = left != right
        return np.column_stack([left[is_other], right[is_other]])

    def _exact(self, rows: NDArray[np.int64], threshold: float) -> tuple[Pairs, NDArray[np.int64]]:
        """Compare rows (n,) with all: the pairs at the threshold, and the nearest row of each."""
        unit = unit_rows(self._values[rows]).numpy()
        largest = np.full(len(rows), -np.inf, np.float32)
        nearest, pairs = np.zeros(len(rows), np.int64), [np.empty((0, 2), np.int64)]
        for start in range(0, len(self._values), _BLOCK):
            cosines = unit @ unit_rows(self._values[start : start + _BLOCK]).numpy().T
            numbers = np.arange(start, start + cosines.shape[1])
            cosines[rows[:, None] == numbers] = -np.inf
            best = cosines.argmax(axis=1)
            value = cosines[np.arange(len(rows)), best]
            nearest = np.where(value > largest, numbers[best], nearest)
            largest = np.maximum(largest, value)
            left, right = np.nonzero(cosines >= threshold)
            pairs.append(np.column_stack([rows[left], numbers[right]]))
        return np.concatenate(pairs), nearest

    def _sample(self, count: int) -> NDArray[np.int64]:
        """Choose rows, ascending, each once."""
        return _sample(self._generator, len(self._values), count)


def inverted_file(
    values: Features,
    generator: np.random.Generator,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> faiss.IndexIVFScalarQuantizer:
    """Divide rows, as float16 of unit norm, among cells: memory 2 N F bytes beside the values.

    A row is searched in the 16 cells of 4 sqrt(N) that are nearest to it, so N rows cost
    4 N sqrt(N) F multiply-adds.

    Args:
        values: (N, F) floats.
        generator: draws the rows that the cells are made with.
        progress: is called with the rows entered and N.
    """
    num_rows, num_features = values.shape
    # More cells than one for each 40 rows cannot be trained.
    num_cells = max(1, min(int(4 * num_rows**0.5), num_rows // _TRAINED_ON))
    cells = faiss.IndexFlatIP(num_features)
    index = faiss.IndexIVFScalarQuantizer(
        cells,
        num_features,
        num_cells,
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_INNER_PRODUCT,
    )
    index.cp.niter = _ROUNDS
    index.nprobe = min(_PROBED, num_cells)
    drawn = _sample(generator, num_rows, _TRAINED_ON * num_cells)
    index.train(unit_rows(values[drawn]).numpy())
    for start in range(0, num_rows, _BLOCK):
        index.add(unit_rows(values[start : start + _BLOCK]).numpy())
        progress(min(start + _BLOCK, num_rows), num_rows)
    return index


def _sample(generator: np.random.Generator, num_rows: int, count: int) -> NDArray[np.int64]:
    """Choose rows, ascending, each once."""
    return np.sort(generator.choice(num_rows, min(count, num_rows), replace=False))
