"""Worst queries with what there is to see of them: ids, labels, and where the pictures are."""

from __future__ import annotations

from dataclasses import dataclass

from cache.places.urls import Location, below, located
from cache.store import FeatureStore
from pipeline.reporting.measuring import Measured
from pipeline.reporting.worst_queries import Query


@dataclass(frozen=True)
class Picture:
    """A picture of the store, for people.

    Attributes:
        id: of the image.
        label: the true one where it is known, else the given one.
        place: where its file was; None where the store does not know.
    """

    id: str
    label: str
    place: Location | None


@dataclass(frozen=True)
class Examples:
    """The worst queries of a run.

    Attributes:
        name: of the run.
        queries: each with its picture, and those that it found.
    """

    name: str
    queries: tuple[tuple[Query, Picture, tuple[Picture, ...]], ...]


def examples_of(measured: Measured, store: FeatureStore) -> list[Examples]:
    """Look up the pictures of the worst queries."""
    table = measured.table
    names = table.column_names
    ids, paths, labels = (table[name].to_pylist() for name in ("id", "path", "label"))
    if "true_label" in names:
        true = table["true_label"].to_pylist()
        labels = [right or given for right, given in zip(true, labels, strict=True)]
    root = located(store.root) if store.root else None

    def picture(row: int) -> Picture:
        place = None if root is None else below(root, paths[row])
        return Picture(ids[row], labels[row], place)

    return [
        Examples(
            detail.name,
            tuple(
                (query, picture(query.row), tuple(picture(item.row) for item in query.found))
                for query in detail.worst
            ),
        )
        for detail in measured.details
    ]
