"""The queries that a run answers worst, with what it found instead."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.measures.copies import copies_in
from pipeline.measures.metrics import PerQuery
from pipeline.measures.nearest import TILE_BYTES, cosines, top_k
from pipeline.training.protocol import Split

_CANDIDATES = 256  # of the lowest figures, among which the ranks decide


@dataclass(frozen=True)
class Item:
    """A picture that was found.

    Attributes:
        row: of the store's readable rows.
        is_right: whether it has the query's true class.
        cosine: to the query.
    """

    row: int
    is_right: bool
    cosine: float


@dataclass(frozen=True)
class Query:
    """A picture that was searched for.

    Attributes:
        row: of the store's readable rows.
        map_at_r: in [0, 1].
        first_right: rank of the first right item, from 1.
        found: the nearest items, the nearest first.
    """

    row: int
    map_at_r: float
    first_right: int
    found: tuple[Item, ...]


def worst_queries(
    queries: Tensor,
    gallery: Tensor,
    roles: Split,
    measured: PerQuery,
    *,
    count: int = 5,
    shown: int = 5,
) -> tuple[Query, ...]:
    """Find the queries with the lowest MAP@R; of equal ones those whose first right item is last.

    Args:
        queries: (Q, D) unit norm.
        gallery: (G, D) unit norm.
        roles: the rows and true labels behind both.
        measured: figures of these queries; those without a right item are left out.
        count: how many queries.
        shown: how many items of each.
    """
    chosen = _candidates(measured)
    if not len(chosen):
        return ()
    gallery = gallery.float()
    labels = torch.from_numpy(roles.true[roles.gallery]).to(gallery.device)
    own = None if roles.own_rows is None else torch.from_numpy(roles.own_rows).to(gallery.device)
    copies = copies_in(gallery)

    def near(part: Tensor) -> Tensor:
        part = part.to(gallery.device)
        own_rows = None if own is None else own[part]
        return cosines(queries[part].float(), gallery, own_rows=own_rows, copies=copies)

    wanted = torch.from_numpy(roles.true[roles.query]).to(gallery.device)
    tile = max(1, TILE_BYTES // (16 * len(gallery)))
    ranks = torch.cat(
        [_first_right(near(part), labels, wanted[part]) for part in chosen.split(tile)]  # type: ignore[no-untyped-call]
    )
    figures = _map_at_r(measured)[chosen].tolist()
    order = sorted(range(len(chosen)), key=lambda at: (figures[at], -int(ranks[at]), at))[:count]
    best = chosen[order]
    similarity = near(best)
    depth = min(shown, len(gallery) - (own is not None))
    neighbours = top_k(similarity, depth)
    return tuple(
        Query(
            int(roles.query[int(best[at])]),
            figures[place],
            int(ranks[place]),
            tuple(
                Item(
                    int(roles.gallery[item]),
                    bool(labels[item] == wanted[best[at]]),
                    float(similarity[at, item]),
                )
                for item in neighbours[at].tolist()
            ),
        )
        for at, place in enumerate(order)
    )


def _map_at_r(measured: PerQuery) -> Tensor:
    return measured.values[:, len(measured.recall_at) + 2]


def _candidates(measured: PerQuery) -> Tensor:
    """Choose queries by MAP@R, and of equal ones those that find nothing within most of the K."""
    rows = measured.has_right.nonzero()[:, 0]
    soon = measured.values[rows, : len(measured.recall_at)].sum(dim=1)
    by_recall = soon.argsort(stable=True)
    order = _map_at_r(measured)[rows][by_recall].argsort(stable=True)
    return rows[by_recall[order]][:_CANDIDATES]


def _first_right(near: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """Rank the first right item of each query: (T, G), (G,), (T,) -> (T,) int64, from 1."""
    is_right = (labels[None, :] == wanted[:, None]) & (near > -torch.inf)
    best = near.masked_fill(~is_right, -torch.inf).amax(dim=1, keepdim=True)  # (T, 1)
    is_tied = near == best
    first = (is_tied & is_right).int().argmax(dim=1, keepdim=True)
    rows = torch.arange(near.shape[1], device=near.device)
    before = (near > best) | (is_tied & (rows < first))
    return 1 + before.sum(dim=1).cpu()
