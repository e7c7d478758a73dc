"""What an extraction did, as lines for people and as plain values for `--json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cache.revision import Changes
    from pipeline.extract import ExtractReport


def extract_json(report: ExtractReport) -> dict[str, Any]:
    """Write what an extraction did as plain values."""
    facts = asdict(report)
    skipped = [{"id": name, "reason": why} for name, why in facts.pop("unreadable").items()]
    changes = report.changes._asdict()
    return {**facts, "store": str(report.store), "changes": changes, "skipped": skipped}


def extract_lines(report: ExtractReport) -> list[str]:
    """Say what an extraction did, in a few lines."""
    size = f"{report.readable:,} rows of {report.num_features:,} features"
    if report.already_complete:
        lines = [f"{report.store} is complete: {size}; nothing to do"]
    else:
        lines = [
            f"{report.store}: {size}, {report.seconds:.1f} s "
            f"({report.images_per_second:.0f} images a second on {report.device}, "
            f"{report.precision})"
        ]
    lines += report.remarks
    if report.resumed_chunks and not report.already_complete:
        lines.append(f"{counted(report.resumed_chunks, 'chunk was', 'chunks were')} there already")
    lines += _changes(report.changes)
    if report.unreadable:
        images = "1 image" if len(report.unreadable) == 1 else f"{len(report.unreadable):,} images"
        lines.append(f"{images} could not be read and were left out:")
        shown = list(report.unreadable.items())[:10]
        lines += [f"  {name}: {reason}" for name, reason in shown]
        if len(report.unreadable) > len(shown):
            lines.append("  ... all of them: dml info --json")
    return lines


def counted(count: int, one: str, many: str) -> str:
    """Write a number with its noun and verb."""
    return f"{count:,} {one if count == 1 else many}"


def _changes(changes: Changes) -> list[str]:
    """Say what was brought up to date in a store, a line each."""
    lines = []
    if changes.relabelled:
        rows = counted(changes.relabelled, "row was", "rows were")
        lines.append(f"labels or splits of {rows} brought up to date")
    if changes.added:
        images = counted(changes.added, "new or changed image was", "new or changed images were")
        lines.append(f"{images} added")
    if changes.removed:
        rows = counted(changes.removed, "row was", "rows were")
        lines.append(f"{rows} taken out: no longer listed, or changed")
    if changes.damaged:
        chunks = counted(changes.damaged, "damaged chunk was", "damaged chunks were")
        lines.append(f"{chunks} made anew")
    return lines
