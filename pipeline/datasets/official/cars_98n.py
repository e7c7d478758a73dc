"""CARS-98N: 98 car classes crawled from the web, about half wrongly labelled; Cars196 tests.

Layout: the lists `CARSN_train.csv` and `CARSN_test.csv` of PRISM, and the images they name. Nobody
knows the true labels of the training images.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.datasets.official._files import as_number, find_base
from pipeline.datasets.official._listing import Count, Listing, Row
from pipeline.datasets.official._lists import list_rows
from pipeline.extraction.containers import join

EXPECTED = {"train": (9558, 98), "test": (8131, 98)}


def read(root: Path) -> Listing:
    """List the cars; the id is the path in the list."""
    base = find_base(root, "CARSN_train.csv", ["datalist", "CARSN"])
    images = str(root) if root.is_dir() else base
    files = {split: join(base, f"CARSN_{split}.csv") for split in EXPECTED}
    train = list_rows(images, files["train"], "train")
    test = list_rows(images, files["test"], "test")
    check = _folder_check(train, files["train"])
    return Listing(rows=[*train, *test], expected=EXPECTED, counts=[check])


def _folder_check(train: list[Row], file: str) -> Count:
    """Count the training images in the folder of their class, which is numbered from 0."""
    folders = [row.id.split("/")[-2:-1] for row in train]
    own = sum(
        folder == [str(as_number(row.label, file) - 1)]
        for row, folder in zip(train, folders, strict=True)
    )
    return Count("training labels that are their folder's number plus 1", len(train), own)
