"""What a search says about each query: the images found, whether they match, and their vote."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cache.places.urls import Location, below, located
from pipeline.retrieval.exact import NOBODY, Nearest
from pipeline.retrieval.queries import Query


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        id: of its row.
        label: as given.
        path: of its file, as in the manifest.
        place: of its file.
        cosine: with the query, -1 to 1.
        is_match: whether that reaches the threshold.
    """

    id: str
    label: str
    path: str
    place: Location
    cosine: float
    is_match: bool


@dataclass(frozen=True)
class Answer:
    """What was found for one image.

    Attributes:
        query: the image.
        hits: the nearest images, nearest first.
        label: the one that most of the matches have, of equally many the nearest one's; None
            without a match.
        share: of the matches that have it; 0 without a match.
    """

    query: Query
    hits: tuple[Hit, ...]
    label: str | None
    share: float


def answers(
    queries: Sequence[Query],
    found: Nearest,
    items: pa.Table,
    root: str,
    *,
    top: int,
    threshold: float | None,
    exclude_self: bool,
) -> tuple[Answer, ...]:
    """Look up what was found.

    Args:
        queries: T of them.
        found: (T, K) rows of `items`; K is at least `top`, and one more with `exclude_self`.
        items: table with the columns id, label and path.
        root: folder or URL that the paths are relative to.
        top: hits to keep for each query.
        threshold: the least cosine of a match; None lets all match.
        exclude_self: whether a query's own file is left out.
    """
    rows = np.unique(found.rows[found.rows != NOBODY])
    lines = items.select(["id", "label", "path"]).take(pa.array(rows)).to_pylist()
    item_of = dict(zip(rows.tolist(), lines, strict=True))
    base = located(root)

    def hits(at: int) -> list[Hit]:
        pairs = zip(found.rows[at].tolist(), found.cosines[at].tolist(), strict=True)
        return [
            Hit(
                **item_of[row],
                place=below(base, item_of[row]["path"]),
                cosine=cosine,
                is_match=threshold is None or cosine >= threshold,
            )
            for row, cosine in pairs
            if row != NOBODY
        ]

    told = []
    for at, query in enumerate(queries):
        near = [hit for hit in hits(at) if not (exclude_self and _is_same(query, hit))][:top]
        told.append(Answer(query, tuple(near), *vote([hit.label for hit in near if hit.is_match])))
    return tuple(told)


def vote(labels: Sequence[str]) -> tuple[str | None, float]:
    """Choose the most frequent of some labels, nearest first: the label and its share.

    Of equally frequent ones the nearest wins, as `Counter` keeps the order of arrival.
    """
    if not labels:
        return None, 0.0
    label, count = Counter(labels).most_common(1)[0]
    return label, count / len(labels)


def _is_same(query: Query, hit: Hit) -> bool:
    """Tell whether a hit is the query's own row or file."""
    if query.id is not None:
        return query.id == hit.id
    if isinstance(query.place, str) or isinstance(hit.place, str):
        return query.place == hit.place
    return os.path.realpath(query.place) == os.path.realpath(hit.place)
