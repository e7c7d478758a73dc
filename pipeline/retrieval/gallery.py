"""What is searched in: the embeddings of some rows of a store, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cache.errors import InputError
from pipeline.retrieval.exact import Embeddings, Rows
from pipeline.retrieval.labels import ShownLabels, shown_labels
from pipeline.retrieval.space import Space

_BLOCK = 8192  # rows that are embedded together
_SHOWN = ("id", "label", "path", "split")


@dataclass(frozen=True)
class Gallery:
    """Some rows of a store, to be embedded.

    Attributes:
        space: what embeds them.
        splits: which splits they are of; None is all readable rows.
        rows: (N,) readable rows of the store, ascending. The gallery's own row numbers count from
            0.
        items: table of these N rows: id, label, path and, where there is one, split.
        labels: of all rows of the store; the items have theirs.
    """

    space: Space
    splits: tuple[str, ...] | None
    rows: Rows
    items: pa.Table
    labels: ShownLabels

    def blocks(
        self, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Iterator[tuple[Rows, Embeddings]]:
        """Embed all rows in order, once.

        Yields:
            (B,) rows of the gallery and their embeddings (B, D).

        Raises:
            StoreCorruptError: a chunk of the store is missing or damaged.
        """
        at = 0
        for features in self._features():
            rows = np.arange(at, at + len(features))
            at += len(features)
            yield rows, self.space.embed(features)
            progress(at, len(self.rows))

    def take(self, rows: Rows) -> Embeddings:
        """Embed some rows (n,) of the gallery, ascending: (n, D)."""
        return self.space.embed(self.space.store.on_disk().take(self.rows[rows]))

    def _features(self) -> Iterator[NDArray[np.floating]]:
        """Read the raw features of all rows, in blocks whatever the store's chunks are."""
        waiting: list[NDArray[np.floating]] = []
        for rows, values in self.space.store.on_disk().chunks():
            first, end = np.searchsorted(self.rows, [rows.start, rows.stop])
            if first == end:
                continue
            waiting.append(values[self.rows[first:end] - rows.start])
            while sum(map(len, waiting)) >= _BLOCK:
                whole = np.concatenate(waiting)
                yield whole[:_BLOCK]
                waiting = [whole[_BLOCK:]]
        if any(map(len, waiting)):
            yield np.concatenate(waiting)


def gallery_of(space: Space, splits: tuple[str, ...] | None = None) -> Gallery:
    """Choose the rows of some splits; None is all readable rows.

    The labels are the corrected ones if the run was trained with such, and rows that people
    decided to drop are left out; see `pipeline.retrieval.labels`.

    Raises:
        InputError: the store has no splits, or none of that name, nothing is left, or the run's
            corrected labels are gone.
        StoreIncompleteError: the extraction has not finished.
    """
    space.store.on_disk()  # tells whether it is complete
    table = space.store.readable_rows()
    table = table.select([name for name in _SHOWN if name in table.column_names])
    labels = shown_labels(space)
    table = table.set_column(table.column_names.index("label"), "label", labels.names)
    rows = np.arange(table.num_rows, dtype=np.int64)
    if splits is not None:
        rows = _rows_of(table, splits, space)
    rows = rows[~labels.is_dropped[rows]]
    if not len(rows):
        raise InputError(f"{space.store.path} has no readable images to search in")
    return Gallery(space, splits, rows, table.take(pa.array(rows)), labels)


def _rows_of(table: pa.Table, splits: tuple[str, ...], space: Space) -> Rows:
    if "split" not in table.column_names:
        raise InputError(f"{space.store.path} has no splits: leave --split out")
    found = np.array(table["split"].to_pylist())
    known = sorted(set(found.tolist()))
    if missing := [name for name in splits if name not in known]:
        raise InputError(
            f"{space.store.path} has no split {missing[0]!r}: choose from {', '.join(known)}"
        )
    return np.flatnonzero(np.isin(found, splits)).astype(np.int64)
