"""What `dml audit` prints."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from pipeline.audit.findings import Findings
from pipeline.output.present import percent

_LISTED = 10
_PAIRS = 5


def audit_json(found: Findings, folder: Path) -> dict[str, Any]:
    """Write the summary, the first suspects and the confused classes as plain values."""
    suspects = [
        {name: row[name] for name in ("id", "given_label", "suggested_label", "p_wrong", "reason")}
        for row in found.table.slice(0, _LISTED).to_pylist()
        if row["is_label_issue"]
    ]
    pairs = found.classes.to_pylist()
    return {**found.summary, "out": str(folder), "suspects": suspects, "pairs": pairs}


def audit_lines(found: Findings, folder: Path) -> list[Any]:
    """Say how many labels are doubted, list the first, and name what is beside them."""
    facts = found.summary
    counts = facts["counts"]
    lines: list[Any] = [
        f"{facts['settings']['run'] or facts['store']}: {facts['rows']:,} training images of "
        f"{facts['classes']:,} classes",
        f"wrong labels, estimated: {percent(facts['estimated_noise_rate'])} %; doubted: "
        f"{facts['label_issues']:,} ({counts['ambiguous']:,} between two confused classes); "
        f"of no class: {counts['out of set']:,}"
        + (f"; not judged, class too small: {facts['unknown']:,}" if facts["unknown"] else ""),
    ]
    lines += _truth(facts["measures"])
    if facts["label_issues"]:
        lines += ["", *_suspects(found)]
    lines += ["", *_confused(found), _duplicates(facts["duplicates"]), f"all of it: {folder}"]
    if any(counts.values()):
        lines.append(f"next: {shlex.join(['dml', 'review', str(folder)])}")
    return lines


def _truth(measures: dict[str, Any] | None) -> list[str]:
    if measures is None:
        return []
    known = percent(measures["known_noise_rate"])
    if measures["auc"] is None:
        return [f"by the right labels: {known} % wrong, nothing to measure"]
    figures = ", ".join(
        f"{name} {_share(measures[key])}"
        for name, key in (
            ("AUC", "auc"),
            ("average precision", "average_precision"),
            ("precision at the estimated rate", "precision_at_estimated_rate"),
            ("calibration error", "calibration_error"),
            ("right suggestions", "right_suggestions"),
        )
    )
    return [f"by the right labels: {known} % wrong; {figures}"]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _suspects(found: Findings) -> list[str]:
    """List the images whose labels are most probably wrong."""
    rows = [row for row in found.table.slice(0, _LISTED).to_pylist() if row["is_label_issue"]]
    return ["most probably wrong:"] + [
        f"  {percent(row['p_wrong'])} % {row['id']}: {row['given_label']} -> "
        f"{row['suggested_label']} ({row['reason']})"
        for row in rows
    ]


def _confused(found: Findings) -> list[str]:
    pairs = found.classes.slice(0, _PAIRS).to_pylist()
    if not pairs:
        return ["no two classes are mutually confused"]
    lines = [f"mutually confused classes: {len(found.classes):,}"]
    return lines + [
        f"  {pair['a']} and {pair['b']}: {pair['rows_ab']} and {pair['rows_ba']} images, "
        f"{percent(pair['share'])} % of both"
        for pair in pairs
    ]


def _duplicates(counts: dict[str, Any]) -> str:
    return (
        f"duplicates: {counts['leak']:,} groups across splits, {counts['labels']:,} with different "
        f"labels, {counts['rest']:,} others (dml info --duplicates)"
    )
