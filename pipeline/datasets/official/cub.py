"""CUB-200-2011: 200 kinds of birds, the first 100 classes train, the others test.

Layout: `images.txt`, `image_class_labels.txt`, `classes.txt` and `images/`. The official division
of images (`train_test_split.txt`) shares classes between its halves and is not for metric learning.
"""

from __future__ import annotations

from pathlib import Path

from cache.errors import InputError
from pipeline.datasets.official._files import as_number, find_base, is_litter, read_fields
from pipeline.datasets.official._listing import Count, Listing, Row, class_names
from pipeline.extraction.containers import is_there, join

TRAIN_CLASSES = 100
EXPECTED = {"train": (5864, 100), "test": (5924, 100)}


def read(root: Path) -> Listing:
    """List the birds; the id is the path below `images/`."""
    base = find_base(root, "image_class_labels.txt", ["CUB_200_2011"])
    labels = dict(read_fields(join(base, "image_class_labels.txt"), 2))
    rows = []
    for number, path in read_fields(join(base, "images.txt"), 2):
        if is_litter(path):
            continue
        if number not in labels:
            raise InputError(
                f"image {number} ({path}) has no line in {join(base, 'image_class_labels.txt')}: "
                "the file may be truncated, get it again"
            )
        label = labels[number]
        is_train = as_number(label, join(base, "image_class_labels.txt")) <= TRAIN_CLASSES
        split = "train" if is_train else "test"
        rows.append(Row(path, join(base, f"images/{path}"), label, split))
    agreeing = sum(row.id.partition(".")[0].lstrip("0") == row.label for row in rows)
    return Listing(
        rows=rows,
        expected=EXPECTED,
        counts=[Count("labels that agree with the number of their folder", len(rows), agreeing)],
        extra=_names(base, rows),
    )


def _names(base: str, rows: list[Row]) -> dict[str, list[str]]:
    file = join(base, "classes.txt")
    names = [name for _, name in read_fields(file, 2)] if is_there(file) else []
    return class_names([row.label for row in rows], names, first=1)
