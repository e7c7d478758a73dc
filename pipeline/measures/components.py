"""Rows that belong together because they are linked, directly or through others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Pairs = NDArray[np.int64]  # (P, 2) row numbers


class Components:
    """The connected components of links that arrive in blocks; the links themselves are not kept.

    Memory is 8 bytes a row; a block of P links that join anything costs O(N + P log P).

    Attributes:
        first: (N,) int64, for each row the lowest row number of its component.
    """

    def __init__(self, num_rows: int) -> None:
        """Begin with N rows, each for itself."""
        self.first = np.arange(num_rows, dtype=np.int64)

    def new(self, pairs: Pairs) -> Pairs:
        """Return those of the pairs (P, 2) whose rows are in different components so far."""
        ends = self.first[pairs]
        is_new: NDArray[np.bool_] = ends[:, 0] != ends[:, 1]
        return pairs[is_new]

    def add(self, pairs: Pairs) -> None:
        """Join the components of both rows of each pair (P, 2) int64."""
        ends = self.first[self.new(pairs)]
        if not len(ends):
            return
        nodes, edges = np.unique(ends, return_inverse=True)  # few, of N
        edges = edges.reshape(-1, 2)
        shape = (len(nodes), len(nodes))
        graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=shape)
        _, component = connected_components(graph, directed=False)
        _, lowest = np.unique(component, return_index=True)  # nodes ascend: first met is lowest
        joined = np.arange(len(self.first))
        joined[nodes] = nodes[lowest[component]]
        self.first = joined[self.first]

    def is_linked(self) -> NDArray[np.bool_]:
        """Tell for each of the N rows whether its component has other rows."""
        return np.bincount(self.first, minlength=len(self.first))[self.first] > 1

    def links(self) -> Pairs:
        """Return links that make the same components: (P, 2), P below N."""
        rows = np.flatnonzero(self.first != np.arange(len(self.first)))
        return np.column_stack([self.first[rows], rows])

    def groups(self) -> list[NDArray[np.int64]]:
        """Return the rows of each component of two and more, ascending, by their lowest row."""
        rows = np.flatnonzero(self.is_linked())
        rows = rows[np.argsort(self.first[rows], kind="stable")]
        starts = np.flatnonzero(np.diff(self.first[rows])) + 1
        return np.split(rows, starts) if len(rows) else []
