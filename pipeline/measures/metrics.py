"""Retrieval metrics from exact nearest neighbours, in tiles: nothing of size N x N is held.

Recall@K is the share of queries with at least one item of their class among the K nearest (the
definition of metric learning, "any of the top K"; not the recall of sets). R-precision is the share
of right items among the R nearest, R = number of gallery items of the query's class. MAP@R is the
mean over the ranks i <= R of the precision at i where item i is right, else 0 (Musgrave et al.,
ECCV 2020, arXiv 2003.08505).

Rules: cosines in float32; a query is removed from its own gallery by row number, never by value;
equal cosines rank by gallery row number, and exact copies in the gallery always have equal cosines,
so results do not depend on tiles; a query without any right item in the gallery is left out of the
averages and counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.copies import first_copies

_TILE_ELEMENTS = 2**25  # similarities held at once, 128 MB of float32


@dataclass(frozen=True)
class Retrieval:
    """What a set of queries found.

    Attributes:
        recall: K -> Recall@K in [0, 1].
        precision_at_1: share of queries whose nearest item is right; equal to Recall@1.
        r_precision: in [0, 1].
        map_at_r: in [0, 1].
        num_queries: queries that entered the averages.
        lone_queries: queries without any right item in the gallery, left out.
    """

    recall: dict[int, float]
    precision_at_1: float
    r_precision: float
    map_at_r: float
    num_queries: int
    lone_queries: int


def evaluate(
    queries: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    *,
    recall_at: tuple[int, ...],
    own_rows: Tensor | None = None,
) -> Retrieval:
    """Ranks the gallery for every query and averages the metrics.

    Args:
        queries: (Q, D) unit norm.
        query_labels: (Q,) int64.
        gallery: (G, D) unit norm.
        gallery_labels: (G,) int64.
        recall_at: the K, each at least 1; a K above the gallery's size means all of it.
        own_rows: (Q,) int64, the gallery row that is the query itself, where queries are part of
            the gallery.
    """
    num_right = _count(gallery_labels, query_labels)  # (Q,)
    if own_rows is not None:
        num_right = num_right - 1
    depth = min(max(*recall_at, int(num_right.max()), 1), len(gallery) - (own_rows is not None))
    originals = _originals(gallery)
    per_query = []
    tile = max(1, _TILE_ELEMENTS // len(gallery))
    for at in range(0, len(queries), tile):
        part = slice(at, at + tile)
        own = None if own_rows is None else own_rows[part]
        nearest = top_k(queries[part], gallery, depth, own, originals)
        is_right = gallery_labels[nearest] == query_labels[part, None]  # (T, depth)
        per_query.append(_measure(is_right, num_right[part], recall_at))
    return _average(torch.cat(per_query), num_right > 0, recall_at)


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
        similarity = similarity[:, originals]
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


def _originals(gallery: Tensor) -> Tensor | None:
    """Find each row's first exact copy, (G,) int64; None where all rows differ."""
    first = first_copies(gallery)
    has_copies = bool((first != torch.arange(len(first), device=first.device)).any())
    return first if has_copies else None


def _count(gallery_labels: Tensor, query_labels: Tensor) -> Tensor:
    """Counts the gallery items of each query's class, (Q,) int64, for labels of any size."""
    classes, counts = torch.unique(gallery_labels, return_counts=True)
    place = torch.searchsorted(classes, query_labels).clamp_max(len(classes) - 1)
    return torch.where(classes[place] == query_labels, counts[place], 0)


def _measure(is_right: Tensor, num_right: Tensor, recall_at: tuple[int, ...]) -> Tensor:
    """Measures each query: (T, len(recall_at) + 3) float64: recalls, P@1, R-precision, MAP@R."""
    rank = torch.arange(1, is_right.shape[1] + 1, device=is_right.device)
    hits = is_right & (rank <= num_right[:, None])
    precision = hits.cumsum(dim=1).double() / rank
    total = num_right.clamp_min(1)
    recalls = [is_right[:, :k].any(dim=1).double() for k in recall_at]
    r_precision = hits.sum(dim=1).double() / total
    map_at_r = (precision * hits).sum(dim=1) / total
    return torch.stack([*recalls, is_right[:, 0].double(), r_precision, map_at_r], dim=1)


def _average(values: Tensor, has_right: Tensor, recall_at: tuple[int, ...]) -> Retrieval:
    """Averages over the queries that have a right item; NaN where none has."""
    *recalls, precision_at_1, r_precision, map_at_r = values[has_right].mean(dim=0).tolist()
    return Retrieval(
        recall=dict(zip(recall_at, recalls, strict=True)),
        precision_at_1=precision_at_1,
        r_precision=r_precision,
        map_at_r=map_at_r,
        num_queries=int(has_right.sum()),
        lone_queries=int((~has_right).sum()),
    )
