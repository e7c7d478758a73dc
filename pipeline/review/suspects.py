"""The findings of an audit as the page asks for them: which rows, a few of them whole, classes."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from typing import Any

from cache.errors import InputError
from pipeline.audit.findings import Findings

_NEIGHBOURS = ("same_class", "suggested_class")


class Suspects:
    """All findings by their row, most suspicious first; suspects are those that have a kind.

    Attributes:
        ids: of all rows.
        paths: of their images, relative to the images' root.
        count: number of suspects.
        digest: of the ids and given labels.
    """

    def __init__(self, findings: Findings, classes: Iterable[str] = ()) -> None:
        """Take the findings of an audit, and classes that none of its images may have."""
        self._table = findings.table
        self.ids: list[str] = self._table["id"].to_pylist()
        self.paths: list[str] = self._table["path"].to_pylist()
        self._given: list[str] = self._table["given_label"].to_pylist()
        self._kinds: list[str] = self._table["kind"].to_pylist()
        self._rows = {key: row for row, key in enumerate(self.ids)}
        self.count = sum(map(bool, self._kinds))
        suspects = (label for label, kind in zip(self._given, self._kinds, strict=True) if kind)
        self._suspects_of = Counter(suspects)
        suggested = self._table["suggested_label"].unique().to_pylist()
        self._classes = sorted({*self._given, *suggested, *classes} - {"", None})
        self._is_class = frozenset(self._classes)
        self.digest = _digest(zip(self.ids, self._given, strict=True))

    def __len__(self) -> int:
        """Return the number of findings."""
        return len(self.ids)

    def id_of(self, row: int) -> str:
        """Return a row's id; raises InputError where there is no such row."""
        if not 0 <= row < len(self.ids):
            raise InputError(f"there is no finding {row}: expected 0 to {len(self.ids) - 1}")
        return self.ids[row]

    def row_of(self, key: str) -> int | None:
        """Return the row of an id, None for an unknown one."""
        return self._rows.get(key)

    def given_label(self, row: int) -> str:
        """Return the label of a row."""
        return self._given[row]

    def has_class(self, label: str) -> bool:
        """Tell whether any image has this label, or any finding suggests it."""
        return label in self._is_class

    def is_suspect(self, key: str) -> bool:
        """Tell whether an id is a suspect's."""
        row = self.row_of(key)
        return row is not None and bool(self._kinds[row])

    def kinds(self) -> dict[str, int]:
        """Count the suspects by kind, most frequent first."""
        return dict(Counter(kind for kind in self._kinds if kind).most_common())

    def queue(
        self, *, kind: str, label: str, wanted: Container[str] | None, is_wanted: bool = True
    ) -> list[int]:
        """List rows in the order of the findings.

        Args:
            kind: "suspects" (of any kind), "all" (every image), or one kind.
            label: only of this given label; "" = of any.
            wanted: only these ids; None = any.
            is_wanted: whether `wanted` are asked for, or all others.
        """
        rows: Iterable[int] = range(len(self.ids))
        if kind == "suspects":
            rows = (row for row in rows if self._kinds[row])
        elif kind != "all":
            rows = (row for row in rows if self._kinds[row] == kind)
        if label:
            rows = (row for row in rows if self._given[row] == label)
        if wanted is not None:
            rows = (row for row in rows if (self.ids[row] in wanted) == is_wanted)
        return list(rows)

    def find(self, text: str) -> int | None:
        """Return the row of an id, or the first whose id contains the text."""
        row = self.row_of(text)
        if row is None and text:
            row = next((at for at, key in enumerate(self.ids) if text in key), None)
        return row

    def details(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return findings as JSON values; neighbours are given by row, id and label."""
        found: list[dict[str, Any]] = self._table.take([*map(self._checked, rows)]).to_pylist()
        for row, finding in zip(rows, found, strict=True):
            finding["row"] = row
            del finding["path"]
            for name, value in finding.items():
                if isinstance(value, float) and math.isnan(value):
                    finding[name] = None
            for name in _NEIGHBOURS:
                finding[name] = [
                    {"row": self._rows[key], "id": key}
                    for key in finding[name]
                    if key in self._rows
                ]
        return found

    def classes(self, text: str, limit: int) -> list[dict[str, Any]]:
        """Complete the name of a class: names that begin with the text, then that contain it."""
        text = text.casefold()
        ranks = ((name.casefold().find(text), at) for at, name in enumerate(self._classes))
        ranked = sorted((at > 0, row) for at, row in ranks if at >= 0)
        names = (self._classes[row] for _, row in ranked[:limit])
        return [{"name": name, "suspects": self._suspects_of[name]} for name in names]

    def _checked(self, row: int) -> int:
        self.id_of(row)
        return row


def _digest(pairs: Iterable[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for key, label in sorted(pairs):
        for part in (key, label):
            content = part.encode("utf-8", "surrogateescape")
            digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()
