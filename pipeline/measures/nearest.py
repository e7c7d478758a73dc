"""Exact nearest neighbours in tiles: nothing of size N x N is held.

Rules: cosines in float32; a query is removed from its own gallery by row number, never by value;
equal cosines rank by gallery row number, and exact copies in the gallery always have equal cosines.
So a ranking does not depend on tiles, as far as float32 tells cosines apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

TILE_BYTES = 2**28
# Bytes that one query costs in a tile: its cosines with a mask over them, and its neighbours with
# the row numbers, sort orders and precisions that are made of them.
_PER_GALLERY_ROW, _PER_NEIGHBOUR = 9, 64


def tiles(depths: Tensor, gallery_size: int, tile_bytes: int) -> Iterator[tuple[Tensor, int]]:
    """Divide queries into tiles that fit into memory, those that need most neighbours first.

    Sorted so, a large class does not make the search deeper for queries of small ones.

    Args:
        depths: (Q,) int64, neighbours that each query needs.
        gallery_size: rows that are searched.
        tile_bytes: memory of one tile; a tile has at least one query.

    Yields:
        the queries of a tile, (T,) int64, and the neighbours that they need.
    """
    order = depths.argsort(descending=True, stable=True)
    at = 0
    while at < len(order):
        depth = int(depths[order[at]])
        size = max(1, tile_bytes // (_PER_GALLERY_ROW * gallery_size + _PER_NEIGHBOUR * depth))
        yield order[at : at + size], depth
        at += size


def top_k(
    queries: Tensor,
    gallery: Tensor,
    k: int,
    own_rows: Tensor | None = None,
    originals: Tensor | None = None,
) -> Tensor:
    """Finds the k most similar gallery rows, most similar first, lower row number first on ties.

    Args:
        queries: (T, D).
        gallery: (G, D).
        k: at most G, or G - 1 with `own_rows`.
        own_rows: (T,) int64 gallery rows that are left out, one per query.
        originals: (G,) int64, for each gallery row the first exact copy of it, whose cosine it
            takes over: a matrix product rounds the same row differently at different places.

    Returns:
        (T, k) int64 gallery rows.
    """
    similarity = queries.float() @ gallery.float().T  # (T, G)
    if originals is not None:
        copies = (originals != torch.arange(len(originals), device=originals.device)).nonzero()[
            :, 0
        ]
        similarity[:, copies] = similarity[:, originals[copies]]
    if own_rows is not None:
        similarity.scatter_(1, own_rows[:, None], -torch.inf)
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
