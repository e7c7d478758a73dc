"""A data set that was read, as lines for people and as plain values for `--json`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from cache.errors import InputError
from pipeline.datasets.official._listing import Count
from pipeline.datasets.reading import DataSet


def data_json(found: DataSet, file: Path) -> dict[str, Any]:
    """Write what was found as plain values."""
    return {
        "name": found.name,
        "manifest": str(file),
        "root": str(found.manifest.root),
        "rows": len(found.manifest),
        "classes": len(set(found.manifest.labels)),
        "splits": _splits(found),
        "superlabels": len(set(found.manifest.superlabels or ())),
        "has_true_labels": found.manifest.true_labels is not None,
        "extra_columns": list(found.extra),
        "counts": [{**asdict(count), "is_right": count.is_right} for count in found.counts],
        "mismatches": len(found.mismatches),
        "notes": list(found.notes),
        "digest": found.digest,
    }


def data_lines(found: DataSet, file: Path) -> list[str]:
    """Say what was found and whether the counts are the published ones."""
    classes = len(set(found.manifest.labels))
    lines = [f"{file}: {len(found.manifest):,} images of {classes:,} classes"]
    lines += [
        f"  {name}: {numbers['images']:,} images of {numbers['classes']:,} classes"
        for name, numbers in _splits(found).items()
    ]
    lines += found.notes
    lines += [f"wrong count: {_mismatch(count)}" for count in found.mismatches]
    right = len(found.counts) - len(found.mismatches)
    lines.append(f"{right} of {len(found.counts)} counts are as published; digest {found.digest}")
    return [*lines, f"next: dml extract {file}"]


def refuse_mismatches(found: DataSet) -> None:
    """Raise an InputError, in one line, where counts are not as published."""
    if found.mismatches:
        text = "; ".join(map(_mismatch, found.mismatches))
        raise InputError(
            f"{found.name} is not as published: {text}: get the missing files, or leave out "
            "--strict"
        )


def _mismatch(count: Count) -> str:
    return f"{count.what}: expected {count.expected:,}, found {count.found:,}"


def _splits(found: DataSet) -> dict[str, dict[str, int]]:
    splits = found.manifest.splits
    if splits is None:
        return {}
    labels: dict[str, list[str]] = {name: [] for name in dict.fromkeys(splits)}
    for split, label in zip(splits, found.manifest.labels, strict=True):
        labels[split].append(label)
    return {
        name: {"images": len(given), "classes": len(set(given))} for name, given in labels.items()
    }
