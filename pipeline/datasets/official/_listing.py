"""What a reader of a data set returns: rows, known counts, remarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Row(NamedTuple):
    """One image.

    Attributes:
        id: its name, the same wherever the data lie.
        path: its absolute path; with `::` if it lies in an archive or table.
        label: the given label.
        split: a split's name; empty in all rows if the set is not divided.
        superlabel: a coarser label; empty in all rows if the set has none.
        true_label: the label known to be right; empty in all rows if nobody knows them.
    """

    id: str
    path: str
    label: str
    split: str = ""
    superlabel: str = ""
    true_label: str = ""


@dataclass(frozen=True)
class Count:
    """A count with its published value."""

    what: str
    expected: int
    found: int

    @property
    def is_right(self) -> bool:
        """Whether what was found is what was expected."""
        return self.found == self.expected


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images of a data set as its files list them.

    Attributes:
        rows: one for each image.
        expected: (images, classes) by split, None where the number is not known; `query+gallery`
            stands for both splits together.
        counts: further counts that the reader checked.
        extra: more columns, one text for each row; nothing in this project depends on them.
        notes: remarks for the user, a line each.
    """

    rows: Sequence[Row]
    expected: Mapping[str, tuple[int | None, int | None]]
    counts: Sequence[Count] = ()
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()


def class_names(labels: Iterable[str], names: Sequence[str], *, first: int) -> dict[str, list[str]]:
    """Make the column of class names; none without names, and "" for a number without one.

    Args:
        labels: the official numbers, as texts.
        names: in the order of the numbers.
        first: number of the first name.
    """
    numbered = {str(number): name for number, name in enumerate(names, start=first)}
    return {"class_name": [numbered.get(label, "") for label in labels]} if numbered else {}
