"""A section of a report: figures with a word on how to read them, or why there are none."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.reporting.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Section:
    """Part of a report.

    Attributes:
        key: for links, of small letters and dashes.
        title: of the section.
        text: how to read it.
        figures: in order; none where something is missing.
        left_out: what could not be shown and why, a sentence each.
    """

    key: str
    title: str
    text: str
    figures: tuple[Figure, ...] = ()
    left_out: tuple[str, ...] = ()
