"""CIFAR-10 from its python batches, with the labels of people (CIFAR-10N) on request.

Layout: `cifar-10-batches-py/` with `data_batch_1` to `data_batch_5`, `test_batch` and
`batches.meta`; `CIFAR-10_human.pt` beside it for the labels of people.
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
from pipeline.datasets.official._listing import Listing, class_names

EXPECTED = {"train": (50_000, 10), "test": (10_000, 10)}
_FILES = {**{f"data_batch_{number}": "train" for number in range(1, 6)}, "test_batch": "test"}
_COLUMNS = {
    "aggre": "aggre_label",
    "worse": "worse_label",
    "random1": "random_label1",
    "random2": "random_label2",
    "random3": "random_label3",
}


def read(
    root: Path,
    *,
    labels: Literal["clean", "aggre", "worse", "random1", "random2", "random3"] = "clean",
) -> Listing:
    """List the pictures in the order of the batches.

    Args:
        root: the folder of the batches, or the one that holds it.
        labels: the official labels, or those of people for the training pictures; the official
            ones are the true labels then.
    """
    base, found = batches(root, "cifar-10-batches-py", _FILES)
    rows = []
    for name, batch in found.items():
        rows += batch_rows(base, name, batch_labels(batch, "labels", name), _FILES[name])
    if labels != "clean":
        rows = with_human_labels(rows, root, base, "CIFAR-10_human.pt", _COLUMNS[labels])
    names = meta_names(base / "batches.meta", "label_names")
    extra = class_names([row.label for row in rows], names, first=0)
    return Listing(rows=rows, expected=EXPECTED, extra=extra, notes=[f"labels: {labels}"])
