"""Retrieval metrics from the exact ranks of right items.

`nearest` has the rules for ties and copies, `ranks` the two forms of search.

Recall@K is the share of queries with at least one item of their class among the K nearest (the
definition of metric learning, "any of the top K", also called CMC@K; not the recall of sets).
R-precision is the share of right items among the R nearest, R = number of gallery items of the
query's class, without the query itself. MAP@R is the mean over the ranks i <= R of the precision at
i where item i is right, else 0 (Musgrave et al., ECCV 2020, arXiv 2003.08505). MAP@K is the sum
over the ranks i <= K of the precision at i where item i is right, divided by min(K, R), so that a
perfect ranking has 1 whatever the size of its class.

Not here: the mean of precision@1 to precision@100, which PRISM's code prints as MAP@100. It is no
average precision, and a perfect ranking of a class of 5 has about 0.2 in it.

A query without any right item in the gallery is left out of the averages and counted. A K above the
gallery's size means all of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pipeline.measures.nearest import TILE_BYTES, tiles
from pipeline.measures.ranks import NOWHERE, Hits
from pipeline.measures.search import Form, Search


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
        map_at: K -> MAP@K in [0, 1].
    """

    recall: dict[int, float]
    precision_at_1: float
    r_precision: float
    map_at_r: float
    num_queries: int
    lone_queries: int
    map_at: dict[int, float] = field(default_factory=dict)

    def shares(self) -> dict[str, float]:
        """Collect the metrics by the names that they are printed with; NaN without a query."""
        return {
            **{f"recall@{k}": value for k, value in self.recall.items()},
            "precision@1": self.precision_at_1,
            "r_precision": self.r_precision,
            "map@r": self.map_at_r,
            **{f"map@{k}": value for k, value in self.map_at.items()},
        }


@dataclass(frozen=True)
class PerQuery:
    """The metrics of single queries, on the CPU.

    Attributes:
        values: (Q, M) float64 in [0, 1]: Recall@K, P@1, R-precision, MAP@R, MAP@K.
        has_right: (Q,) bool, whether the gallery has a right item; else the values mean nothing.
        recall_at: the K of Recall@K.
        map_at: the K of MAP@K.
        forms: of search that were used.
    """

    values: Tensor
    has_right: Tensor
    recall_at: tuple[int, ...]
    map_at: tuple[int, ...]
    forms: tuple[Form, ...] = ()

    def of(self, queries: Tensor) -> PerQuery:
        """Choose some queries by their numbers, (n,) int64."""
        return replace(self, values=self.values[queries], has_right=self.has_right[queries])

    def average(self) -> Retrieval:
        """Averages over the queries that have a right item; NaN where none has."""
        means = self.values[self.has_right].mean(dim=0).tolist()
        edge = len(self.recall_at)
        return Retrieval(
            recall=dict(zip(self.recall_at, means[:edge], strict=True)),
            precision_at_1=means[edge],
            r_precision=means[edge + 1],
            map_at_r=means[edge + 2],
            num_queries=int(self.has_right.sum()),
            lone_queries=int((~self.has_right).sum()),
            map_at=dict(zip(self.map_at, means[edge + 3 :], strict=True)),
        )


def evaluate(
    queries: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    *,
    recall_at: tuple[int, ...],
    map_at: tuple[int, ...] = (),
    own_rows: Tensor | None = None,
    tile_bytes: int = TILE_BYTES,
) -> Retrieval:
    """Ranks the gallery for every query and averages the metrics; see `per_query`."""
    return per_query(
        queries,
        query_labels,
        gallery,
        gallery_labels,
        recall_at=recall_at,
        map_at=map_at,
        own_rows=own_rows,
        tile_bytes=tile_bytes,
    ).average()


def per_query(
    queries: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    *,
    recall_at: tuple[int, ...],
    map_at: tuple[int, ...] = (),
    own_rows: Tensor | None = None,
    tile_bytes: int = TILE_BYTES,
) -> PerQuery:
    """Ranks the gallery for every query and measures each.

    Args:
        queries: (Q, D) unit norm.
        query_labels: (Q,) int64.
        gallery: (G, D) unit norm.
        gallery_labels: (G,) int64.
        recall_at: the K of Recall@K, each at least 1.
        map_at: the K of MAP@K, each at least 1.
        own_rows: (Q,) int64, the gallery row that is the query itself, where queries are part of
            the gallery.
        tile_bytes: memory for one tile of the search, beside queries and gallery.
    """
    search = Search(
        gallery,
        gallery_labels,
        is_among_themselves=own_rows is not None,
        depth=max((*recall_at, *map_at, 1)),
    )
    num_right = search.num_right(query_labels)  # (Q,)
    values = torch.empty(len(queries), len(recall_at) + 3 + len(map_at), dtype=torch.float64)
    for part, most in tiles(num_right, search.bytes_of, tile_bytes):
        own = None if own_rows is None else own_rows[part]
        hits = search.hits(queries[part], query_labels[part], own, num_right[part], most)
        values[part.cpu()] = measure(hits, num_right[part], recall_at, map_at).cpu()
    return PerQuery(values, (num_right > 0).cpu(), recall_at, map_at, search.forms)


def measure(
    hits: Hits, num_right: Tensor, recall_at: tuple[int, ...], map_at: tuple[int, ...]
) -> Tensor:
    """Measures each query: (T, M) float64 in the order of `PerQuery.values`.

    Args:
        hits: of T queries; all right items up to the ranks R and, as far as the gallery goes, K.
        num_right: (T,) int64, R.
        recall_at: the K of Recall@K.
        map_at: the K of MAP@K.
    """
    if num_right.device.type == "mps":  # which has no float64
        hits, num_right = Hits(*(each.cpu() for each in hits)), num_right.cpu()
    total = num_right.clamp_min(1)
    rank = torch.where(hits.is_right, hits.rank, NOWHERE)
    first = rank.amin(dim=1)
    in_r = rank <= num_right[:, None]
    gain = hits.ordinal.double() / rank * hits.is_right  # precision at right ranks

    def precisions(k: int) -> Tensor:
        return (gain * (rank <= k)).sum(dim=1) / total.clamp_max(k)

    return torch.stack(
        [
            *((first <= min(k, NOWHERE - 1)).double() for k in recall_at),
            (first <= 1).double(),
            in_r.sum(dim=1).double() / total,
            (gain * in_r).sum(dim=1) / total,
            *(precisions(min(k, NOWHERE - 1)) for k in map_at),
        ],
        dim=1,
    )
