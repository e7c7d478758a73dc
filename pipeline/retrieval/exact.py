"""Exact search in a gallery that comes in blocks: only the nearest rows of each query are kept.

Candidates are chosen by a matrix product in float32, which rounds the same row differently at
different places. Their cosines are taken again in float64, pair by pair, and rounded to six
decimals, since embeddings in float32 carry no more: so copies have equal cosines, equal cosines
rank by row number, and a ranking does not depend on the blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Embeddings = NDArray[np.float32]

NOBODY = -1  # the row where there is none
_DECIMALS = 6
_CLOSE = 2e-5  # more than a product in float32 is off
_QUERIES = 1024  # that are compared with a block at a time
_PAIR_VALUES = 2**22  # of pairs that are compared again at a time
_MANY = 8  # times as many candidates as neighbours: then a tighter limit is worth its price


class Nearest(NamedTuple):
    """The nearest gallery rows of T queries.

    Attributes:
        rows: (T, K) int64, most similar first, lower row first on ties; -1 where there are no more.
        cosines: (T, K) float64, rounded to six decimals; -inf where there are no more.
    """

    rows: Rows
    cosines: NDArray[np.float64]


class ExactSearch:
    """The K nearest rows of some queries among all blocks that were added so far."""

    def __init__(self, queries: Embeddings, k: int, *, own_rows: Rows | None = None) -> None:
        """Begin with an empty gallery.

        Args:
            queries: (T, D) unit norm.
            k: neighbours of each query, at least 1.
            own_rows: (T,) gallery row that a query does not find; -1 for none.
        """
        self._queries, self._own_rows = queries, own_rows
        self._found = Nearest(
            np.full((len(queries), k), NOBODY, np.int64), np.full((len(queries), k), -np.inf)
        )

    def add(self, rows: Rows, embeddings: Embeddings) -> None:
        """Look through a block of the gallery.

        Args:
            rows: (B,) gallery rows, each of which comes once in all.
            embeddings: (B, D) unit norm.
        """
        for start in range(0, len(self._queries) if len(rows) else 0, _QUERIES):
            self._add(slice(start, start + _QUERIES), rows, embeddings)

    def result(self) -> Nearest:
        """Return what was found so far."""
        return self._found

    def _add(self, part: slice, rows: Rows, embeddings: Embeddings) -> None:
        queries, found = self._queries[part], self._found
        found = Nearest(found.rows[part], found.cosines[part])
        near = queries @ embeddings.T  # (t, B)
        if self._own_rows is not None:
            near[self._own_rows[part, None] == rows] = -np.inf
        query, column = _candidates(near, found.cosines[:, -1], found.rows.shape[1])
        cosines = pair_cosines(queries, query, embeddings, column)
        merged = merge(found, query, rows[column], cosines)
        found.rows[...], found.cosines[...] = merged


def _candidates(near: Embeddings, limit: NDArray[np.float64], k: int) -> tuple[Rows, Rows]:
    """Choose the pairs of (t, B) that may be among the K nearest.

    Args:
        near: cosines, -inf for what is left out.
        limit: (t,) cosine of the last neighbour so far; -inf where there are fewer than K.
        k: number of neighbours.

    Returns:
        (P,) queries and (P,) columns.
    """
    is_near = near >= (limit - _CLOSE)[:, None]
    if near.shape[1] > k and np.count_nonzero(is_near) > _MANY * k * len(near):
        own = np.partition(near, -k, axis=1)[:, -k]  # the block alone has K that are as near
        is_near = near >= (np.maximum(limit, own) - _CLOSE)[:, None]
    query, column = np.nonzero(is_near & (near > -np.inf))
    return query.astype(np.int64), column.astype(np.int64)


def pair_cosines(
    queries: Embeddings, query: Rows, embeddings: Embeddings, column: Rows
) -> NDArray[np.float64]:
    """Compare pairs (P,) of rows of (T, D) and of (B, D): (P,) cosines, rounded."""
    cosines = np.empty(len(query))
    size = max(1, _PAIR_VALUES // max(1, queries.shape[1]))
    for start in range(0, len(query), size):
        part = slice(start, start + size)
        left, right = queries[query[part]].astype(np.float64), embeddings[column[part]]
        cosines[part] = np.einsum("pd,pd->p", left, right.astype(np.float64))
    return np.round(cosines, _DECIMALS) + 0.0  # no negative zero


def merge(found: Nearest, query: Rows, rows: Rows, cosines: NDArray[np.float64]) -> Nearest:
    """Keep the nearest of what was found, (T, K), and further pairs (P,)."""
    count, k = found.rows.shape
    is_there = found.rows != NOBODY
    query = np.concatenate([np.nonzero(is_there)[0], query])
    rows = np.concatenate([found.rows[is_there], rows])
    cosines = np.concatenate([found.cosines[is_there], cosines])
    order = np.lexsort((rows, -cosines, query))
    query, rows, cosines = query[order], rows[order], cosines[order]
    rank = np.arange(len(query)) - np.searchsorted(query, np.arange(count))[query]
    kept = rank < k
    merged = Nearest(np.full((count, k), NOBODY, np.int64), np.full((count, k), -np.inf))
    merged.rows[query[kept], rank[kept]] = rows[kept]
    merged.cosines[query[kept], rank[kept]] = cosines[kept]
    return merged
