"""What `dml cache` prints."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.output.extraction_lines import counted

if TYPE_CHECKING:
    from cache.store import FeatureStore
    from pipeline.convert import ExportReport, ImportReport

_LISTED = 10
STORE_SUFFIX = ".zarr"


def import_json(report: ImportReport) -> dict[str, Any]:
    """Write what an import did as plain values."""
    facts = asdict(report)
    skipped = [{"id": name, "reason": why} for name, why in facts.pop("unreadable").items()]
    overlays = {name: str(path) for name, path in report.overlays.items()}
    return {**facts, "file": str(report.file), "overlays": overlays, "skipped": skipped}


def import_lines(report: ImportReport) -> list[str]:
    """Say what an import did, and how to train with further labels."""
    made = report.fingerprint
    size = f"{report.rows - len(report.unreadable):,} rows of {made.num_features:,} features"
    if report.already_complete:
        lines = [f"{report.store} is complete: {size}; nothing to do"]
    else:
        lines = [f"{report.store}: {size}, {report.seconds:.1f} s ({made.backbone}, {made.dtype})"]
        if report.resumed_chunks:
            chunks = counted(report.resumed_chunks, "chunk was", "chunks were")
            lines.append(f"{chunks} there already")
    lines += report.remarks
    if report.relabelled:
        lines.append(f"labels or splits of {report.relabelled:,} rows were brought up to date")
    if report.unreadable:
        rows = "1 row" if len(report.unreadable) == 1 else f"{len(report.unreadable):,} rows"
        lines.append(f"{rows} left out:")
        shown = list(report.unreadable.items())[:_LISTED]
        lines += [f"  {name}: {reason}" for name, reason in shown]
        if len(report.unreadable) > len(shown):
            lines.append("  ... all of them: dml info --json")
    for name, path in report.overlays.items():
        lines.append(f"labels {name}: dml train --store {report.store} --noise file:{path}")
    return lines


def export_json(report: ExportReport) -> dict[str, Any]:
    """Write what an export did as plain values."""
    return {**asdict(report), "files": [str(file) for file in report.files]}


def export_lines(report: ExportReport) -> list[str]:
    """Say what an export did, and how its file is imported."""
    file, *others = report.files
    lines = [
        f"{file}: {report.rows:,} rows of {report.num_features:,} features ({report.dtype}), "
        f"{', '.join(report.columns)}, {report.seconds:.1f} s"
    ]
    if is_store(str(file)):
        removed = f"{report.left_out:,} removed rows were not copied"
        return [*lines, removed] if report.left_out else lines
    if report.left_out:
        lines.append(f"{report.left_out:,} rows without features were left out")
    lines += [f"{other}: {', '.join(report.columns)}" for other in others]
    labels = "".join(f" --labels {other}" for other in others)
    store = Path(file).with_suffix(STORE_SUFFIX)
    return [*lines, f"back into a store: dml cache import {file}{labels} --store {store}"]


def is_store(target: str) -> bool:
    """Tell whether a place is that of a store, not of a file."""
    return target.rstrip("/").endswith(STORE_SUFFIX)


def remove_json(store: FeatureStore, removed: int) -> dict[str, Any]:
    """Write what was removed as plain values."""
    return {"store": str(store.path), "removed": removed, "rows": store.num_rows}


def remove_lines(store: FeatureStore, removed: int) -> list[str]:
    """Say what was removed."""
    rows = "1 row was" if removed == 1 else f"{removed:,} rows were"
    return [
        f"{store.path}: {rows} taken out, {store.num_rows:,} are left",
        "  their values stay in the files until dml cache export NEW.zarr copies it without them",
    ]
