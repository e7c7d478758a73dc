"""What a review came to, for people and for `--json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def review_json(
    audit: str, written: Path | None, then: str | None, counts: Mapping[str, int], suspects: int
) -> dict[str, Any]:
    """Write the counts of a review as values.

    Args:
        audit: its folder.
        written: the table of decisions; None = not written.
        then: the command that applies it.
        counts: of the decisions.
        suspects: how many there are.
    """
    verdicts = {name: counts[name] for name in ("keep", "relabel", "drop")}
    return {
        "audit": audit,
        "decisions": None if written is None else str(written),
        **verdicts,
        "decided": counts["decided"],
        "suspects": suspects,
        "undecided": suspects - counts["suspects"],
        "next": then,
    }


def review_lines(facts: Mapping[str, Any]) -> list[str]:
    """Say what was decided, where it is, and what comes next."""
    left = f"{facts['undecided']:,} of {facts['suspects']:,} suspects undecided"
    if facts["decisions"] is None:
        return [f"nothing was decided, no file was written: {left}"]
    verdicts = ", ".join(f"{facts[name]:,} {name}" for name in ("keep", "relabel", "drop"))
    return [
        f"{facts['decisions']}: {facts['decided']:,} decisions ({verdicts}), {left}",
        f"next: {facts['next']}",
    ]
