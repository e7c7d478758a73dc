"""The kinds of FAISS index: which one fits how many rows, how each is built and searched.

All hold the cosines of unit vectors as inner products. Two builds of the same embeddings give the
same bytes: seeds are FAISS's fixed ones, and a graph grows by one thread, because several would
link rows in another order each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import faiss
import numpy as np

from cache.errors import InputError
from pipeline.retrieval.exact import (
    NOBODY,
    Embeddings,
    ExactSearch,
    Nearest,
    Rows,
    merge,
    pair_cosines,
)

Kind = Literal["flat", "hnsw", "ivf", "ivf-pq"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_MOST_FLAT = 100_000  # exact search takes some milliseconds for a query then
_MOST_HNSW = 300_000  # beyond it a graph takes too long to grow by one thread
_LINKS, _WIDTH = 32, 128  # of the graph, and rows looked at while it grows
_TRAINED_ON = 40  # rows for each cell; FAISS warns below 39
_CODES = 256  # of each part of a vector in ivf-pq: one byte
_PART = 4  # numbers of a vector that become one byte, if its length can be divided so
_BLOCK = 16_384  # rows of a flat index that are looked through at a time
_SPARE = 8  # rows that are fetched beyond K, for those on equal cosines


def kind_for(num_rows: int) -> Kind:
    """Choose by size: exact up to 100,000 rows, a graph up to 300,000, then cells."""
    if num_rows <= _MOST_FLAT:
        return "flat"
    return "hnsw" if num_rows <= _MOST_HNSW else "ivf"


def least_rows(kind: Kind) -> int:
    """Count the rows that an index needs to be trained."""
    return {"flat": 1, "hnsw": 1, "ivf": _TRAINED_ON, "ivf-pq": _TRAINED_ON * _CODES}[kind]


def refuse_too_few(kind: Kind, num_rows: int) -> None:
    """Raise InputError where an index of this kind cannot be trained."""
    if num_rows < (least := least_rows(kind)):
        raise InputError(
            f"--kind {kind} needs at least {least:,} rows and there are {num_rows:,}: use --kind "
            "flat, which is exact"
        )


def num_cells(num_rows: int) -> int:
    """Count the cells of an inverted file: 4 sqrt(N), if there are rows to train them."""
    return max(1, min(int(4 * num_rows**0.5), num_rows // _TRAINED_ON))


def rows_to_train(kind: Kind, num_rows: int) -> int:
    """Count the rows that an index is trained on."""
    if kind in ("flat", "hnsw"):
        return 0
    cells = num_cells(num_rows)
    return _TRAINED_ON * (cells if kind == "ivf" else max(cells, _CODES))


def parameters_of(kind: Kind, num_rows: int, dim: int) -> dict[str, int]:
    """Name what an index is built with."""
    if kind == "flat":
        return {}
    if kind == "hnsw":
        return {"links": _LINKS, "width": _WIDTH}
    return {"cells": num_cells(num_rows)} | ({"bytes": _code_bytes(dim)} if kind != "ivf" else {})


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let FAISS use so many threads."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class Filling:
    """An index that is being filled, block by block."""

    def __init__(self, kind: Kind, num_rows: int, dim: int, sample: Embeddings) -> None:
        """Begin with an empty index.

        Args:
            kind: of the index.
            num_rows: N, how many rows will come.
            dim: length D of an embedding.
            sample: (`rows_to_train`, D) of them; may be empty for flat and hnsw.
        """
        self._kind, self._at, self._values = kind, 0, np.empty((0, dim), np.float32)
        self.vectors = _empty(kind, num_rows, dim)
        if kind == "flat":  # at its full size at once: growing would copy it again and again
            self.vectors.codes.resize(4 * num_rows * dim)
            self.vectors.ntotal = num_rows
            self._values = values_of(self.vectors)
        elif kind != "hnsw":
            self.vectors.train(sample)

    def add(self, embeddings: Embeddings) -> None:
        """Add the next rows (B, D)."""
        if self._kind == "flat":
            self._values[self._at : self._at + len(embeddings)] = embeddings
        else:
            with threads(1 if self._kind == "hnsw" else faiss.omp_get_max_threads()):
                self.vectors.add(embeddings)
        self._at += len(embeddings)

    def finished(self) -> Any:
        """Return the index, ready to be searched."""
        if self._kind.startswith("ivf"):
            self.vectors.make_direct_map()  # to look up what was found
        return self.vectors


def _empty(kind: Kind, num_rows: int, dim: int) -> Any:
    product = faiss.METRIC_INNER_PRODUCT
    if kind == "flat":
        return faiss.IndexFlatIP(dim)
    if kind == "hnsw":
        graph = faiss.IndexHNSWFlat(dim, _LINKS, product)
        graph.hnsw.efConstruction = _WIDTH
        return graph
    cells, centres = num_cells(num_rows), faiss.IndexFlatIP(dim)
    if kind == "ivf":
        return faiss.IndexIVFFlat(centres, dim, cells, product)
    return faiss.IndexIVFPQ(centres, dim, cells, _code_bytes(dim), 8, product)


def _code_bytes(dim: int) -> int:
    """Count the bytes of a code: one for every four numbers, or fewer if they cannot be cut so."""
    return next(count for count in range(max(1, dim // _PART), 0, -1) if dim % count == 0)


def values_of(vectors: Any) -> Embeddings:
    """See the rows (N, D) of a flat index, without a copy; valid as long as the index is."""
    flat = faiss.rev_swig_ptr(vectors.get_xb(), vectors.ntotal * vectors.d)
    values: Embeddings = flat.reshape(vectors.ntotal, vectors.d)
    return values


def efforts(kind: Kind, num_rows: int) -> list[int]:
    """List how hard an index can look, easiest first: rows of a graph, or cells, for a query."""
    if kind == "flat":
        return [0]
    first, last = (32, 2048) if kind == "hnsw" else (4, num_cells(num_rows))
    return [effort for effort in (first << step for step in range(16)) if effort < last] + [last]


def nearest(vectors: Any, kind: Kind, queries: Embeddings, k: int, *, effort: int) -> Nearest:
    """Search an index.

    Args:
        vectors: the index.
        kind: of it.
        queries: (T, D) unit norm.
        k: number of neighbours.
        effort: one of `efforts`.

    Returns:
        The nearest rows; exact if the index is flat. Of ivf-pq the cosines are those with what the
        codes stand for.
    """
    if kind == "flat":
        return _nearest_in_flat(vectors, queries, k)
    if kind == "hnsw":
        vectors.hnsw.efSearch = max(effort, k + _SPARE)
    else:
        vectors.nprobe = effort
    _, found = vectors.search(queries, min(k + _SPARE, vectors.ntotal))
    query, place = np.nonzero(found != NOBODY)
    rows = found[query, place].astype(np.int64)
    different, column = np.unique(rows, return_inverse=True)
    nobody = Nearest(np.full((len(queries), k), NOBODY), np.full((len(queries), k), -np.inf))
    if not len(rows):
        return nobody
    values = vectors.reconstruct_batch(different)
    return merge(nobody, query, rows, pair_cosines(queries, query, values, column))


def _nearest_in_flat(vectors: Any, queries: Embeddings, k: int) -> Nearest:
    search, values = ExactSearch(queries, k), values_of(vectors)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        search.add(np.arange(start, start + len(block)), block)
    return search.result()


def without(found: Nearest, own_rows: Rows) -> Nearest:
    """Take each query's own row (T,) out of what was found: (T, K) becomes (T, K - 1)."""
    is_own = found.rows == own_rows[:, None]
    is_own[~is_own.any(axis=1), -1] = True  # the farthest, where it was not found
    shape = (len(own_rows), found.rows.shape[1] - 1)
    return Nearest(found.rows[~is_own].reshape(shape), found.cosines[~is_own].reshape(shape))
