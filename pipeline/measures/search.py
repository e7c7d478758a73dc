"""A gallery made ready for search, tile by tile of queries."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from pipeline.measures.copies import copies_in
from pipeline.measures.nearest import cosines, top_k
from pipeline.measures.ranks import Classes, Hits, counted, is_counted, selected

Form = Literal["counting", "selection"]
# Bytes of one neighbour: its row number, sort orders, and the precisions that are made of it.
_PER_NEIGHBOUR = 80


class Search:
    """Exact search in one gallery, by counting where classes are small and by selection else.

    Attributes:
        forms: the forms that were used so far.
    """

    def __init__(
        self, gallery: Tensor, labels: Tensor, *, is_among_themselves: bool, depth: int
    ) -> None:
        """Prepare the gallery.

        Args:
            gallery: (G, D) unit norm.
            labels: (G,) int64.
            is_among_themselves: whether queries are gallery rows, which do not find themselves.
            depth: the largest K; every query looks at all its R right items anyway.
        """
        self._gallery = gallery.float()  # once, not in each tile
        self._labels = labels
        self._classes = Classes(labels)
        self._copies = copies_in(self._gallery)
        self._own = int(is_among_themselves)
        self._depth = depth
        self._memory = self._gallery.new_empty(0)
        self.forms: tuple[Form, ...] = ()

    def num_right(self, labels: Tensor) -> Tensor:
        """Count the right items of queries with these labels: (Q,) -> (Q,) int64."""
        return self._classes.count(labels) - self._own

    def bytes_of(self, most: int) -> int:
        """Tell what a query takes in a tile whose queries have so many right items at most."""
        neighbours = most if is_counted(most) else self._depth_of(most)
        is_in_cache = is_counted(most) and self._gallery.device.type == "cpu"
        masks = 0 if is_in_cache else 4  # bytes for each cosine
        rows = (4 + masks) * len(self._gallery) + 4 * len(self._copies.rows)
        return rows + _PER_NEIGHBOUR * neighbours

    def hits(
        self, queries: Tensor, labels: Tensor, own_rows: Tensor | None, num_right: Tensor, most: int
    ) -> Hits:
        """Find the right items of a tile's queries.

        Args:
            queries: (T, D).
            labels: (T,) int64.
            own_rows: (T,) int64, the queries' own gallery rows.
            num_right: (T,) int64.
            most: the largest of them.
        """
        near = cosines(
            queries.float(),
            self._gallery,
            own_rows=own_rows,
            copies=self._copies,
            out=self._tile(len(queries)),
        )
        form: Form = "counting" if is_counted(most) else "selection"
        self.forms = tuple(sorted({*self.forms, form}))
        if form == "counting":
            return counted(near, self._classes.rows(labels, own_rows, max(1, most)), num_right)
        return selected(top_k(near, self._depth_of(most)), labels, self._labels)

    def _tile(self, num_queries: int) -> Tensor:
        """Lend memory for cosines: tiles use the same, since fresh memory is slow at first."""
        if len(self._memory) < num_queries:
            self._memory = self._gallery.new_empty(0)  # before the larger one is taken
            self._memory = self._gallery.new_empty(num_queries, len(self._gallery))
        return self._memory[:num_queries]

    def _depth_of(self, most: int) -> int:
        """Neighbours that have to be selected: R and K, as far as a query can see."""
        return min(max(most, self._depth), len(self._gallery) - self._own)
