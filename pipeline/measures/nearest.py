"""Exact search in tiles: nothing of size N x N is held.

Rules: cosines in float32; a query is removed from its own gallery by row number, never by value;
equal cosines rank by gallery row number, and exact copies in the gallery always have equal cosines.
So a ranking does not depend on tiles, as far as float32 tells cosines apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from pipeline.measures.copies import Copies

TILE_BYTES = 2**28


def tiles(
    num_right: Tensor, bytes_of: Callable[[int], int], tile_bytes: int
) -> Iterator[tuple[Tensor, int]]:
    """Divide queries into tiles that fit into memory, those with most right items first.

    Sorted so, a large class does not make the search costlier for queries of small ones.

    Args:
        num_right: (Q,) int64, right items of each query.
        bytes_of: tells from the most right items of a query what each query of its tile takes.
        tile_bytes: memory of one tile; a tile has at least one query.

    Yields:
        the queries of a tile, (T,) int64, and the most right items that one of them has.
    """
    order = num_right.argsort(descending=True, stable=True)
    at = 0
    while at < len(order):
        most = int(num_right[order[at]])
        size = max(1, tile_bytes // bytes_of(most))
        yield order[at : at + size], most
        at += size


def cosines(
    queries: Tensor,
    gallery: Tensor,
    *,
    own_rows: Tensor | None = None,
    copies: Copies | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Compare queries with the whole gallery.

    On the CPU by NumPy's matrix product: with 512 queries and a gallery of 60,502 x 512 it reached
    190 GFLOP/s on two AMD cores where torch's reached 110 to 140.

    Args:
        queries: (T, D) float32.
        gallery: (G, D) float32.
        own_rows: (T,) int64 gallery rows that are left out, one per query: their cosine is -inf.
        copies: rows of the gallery that take over the cosine of their first copy, because a matrix
            product rounds the same row differently at different places.
        out: (T, G) float32 to write into.

    Returns:
        (T, G) float32.
    """
    found = queries.new_empty(len(queries), len(gallery)) if out is None else out
    if found.device.type == "cpu":
        np.matmul(queries.detach().numpy(), gallery.detach().numpy().T, out=found.numpy())
    else:
        torch.mm(queries, gallery.T, out=found)
    if copies is not None:
        found[:, copies.rows] = found[:, copies.firsts]
    if own_rows is not None:
        found.scatter_(1, own_rows[:, None], -torch.inf)
    return found


def top_k(similarity: Tensor, k: int) -> Tensor:
    """Find the k most similar gallery rows, most similar first, lower row number first on ties.

    Args:
        similarity: (T, G).
        k: at most G.

    Returns:
        (T, k) int64 gallery rows.
    """
    values, index = similarity.topk(k, dim=1)
    # topk breaks ties as it likes, inside the k and at their edge. Inside: sort by row number,
    # then stably by value. At the edge: rank anew the rows where a tie was cut.
    by_row = index.sort(dim=1)
    order = values.gather(1, by_row.indices).argsort(dim=1, descending=True, stable=True)
    index = by_row.values.gather(1, order)
    last = values[:, -1:]
    is_cut = (similarity == last).sum(dim=1) > (values == last).sum(dim=1)
    for row in is_cut.nonzero()[:, 0].tolist():
        index[row] = similarity[row].argsort(descending=True, stable=True)[:k]
    return index
