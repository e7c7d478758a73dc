"""What a test looks at in a data set that was read."""

from __future__ import annotations

from pipeline.datasets.reading import DataSet


def by_id(found: DataSet) -> dict[str, tuple[str, str]]:
    """Label and split of every row."""
    manifest = found.manifest
    assert manifest.splits is not None
    return {
        row_id: (label, split)
        for row_id, label, split in zip(manifest.ids, manifest.labels, manifest.splits, strict=True)
    }


def wrong(found: DataSet) -> dict[str, tuple[int, int]]:
    """Expected and found of every count that is not as published."""
    return {count.what: (count.expected, count.found) for count in found.mismatches}
