"""CIFAR-100 from its python batches, with the labels of people (CIFAR-100N) on request.

Layout: `cifar-100-python/` with `train`, `test` and `meta`; `CIFAR-100_human.pt` beside it for the
labels of people. The superlabel is the coarse class of the given label.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pipeline.datasets.official._cifar import (
    batch_labels,
    batch_rows,
    batches,
    meta_names,
    with_human_labels,
)
from pipeline.datasets.official._listing import Count, Listing, Row, class_names

EXPECTED = {"train": (50_000, 100), "test": (10_000, 100)}
_FILES = {"train": "train", "test": "test"}


def read(root: Path, *, labels: Literal["clean", "noisy"] = "clean") -> Listing:
    """List the pictures in the order of the batches.

    Args:
        root: the folder of the batches, or the one that holds it.
        labels: the official labels, or those of people for the training pictures; the official
            ones are the true labels then.
    """
    base, found = batches(root, "cifar-100-python", _FILES)
    rows: list[Row] = []
    coarse_of: dict[str, str] = {}
    for name, batch in found.items():
        fine = batch_labels(batch, "fine_labels", name)
        coarse = batch_labels(batch, "coarse_labels", name)
        coarse_of |= dict(zip(map(str, fine), map(str, coarse), strict=True))
        rows += batch_rows(base, name, fine, _FILES[name])
    if labels != "clean":
        rows = with_human_labels(rows, root, base, "CIFAR-100_human.pt", "noisy_label")
    rows = [row._replace(superlabel=coarse_of[row.label]) for row in rows]
    names = meta_names(base / "meta", "fine_label_names")
    extra = class_names([row.label for row in rows], names, first=0)
    counts = [Count("coarse classes", 20, len({row.superlabel for row in rows}))]
    notes = [f"labels: {labels}"]
    return Listing(rows=rows, expected=EXPECTED, counts=counts, extra=extra, notes=notes)
