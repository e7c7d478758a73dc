"""Clothing1M: a million images of 14 kinds of clothes with labels from the surrounding text.

Layout: `noisy_label_kv.txt`, `clean_label_kv.txt` and the `*_key_list.txt` in the root or in
`annotations/`, images below the root. Validation and test images have labels given by people.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cache.errors import InputError
from pipeline.datasets.official._files import find_base, read_labelled, read_lines
from pipeline.datasets.official._listing import Listing, Row, class_names
from pipeline.extraction.containers import is_folder, is_there, join

EXPECTED = {"noisy": (1_000_000, 14), "clean": (47_570, 14)}
EXPECTED_TEST = {"val": (14_313, 14), "test": (10_526, 14)}
_NAMES = "category_names_eng.txt"


def read(root: Path, *, train: Literal["noisy", "clean"] = "noisy") -> Listing:
    """List the clothes; the id is the path in the key lists.

    Where people also labelled a training image, the extra column `clean_label` has their label.

    Args:
        root: the set's folder.
        train: which training images: those with noisy or those with clean labels.
    """
    notes = find_base(root, "clean_label_kv.txt", ["annotations"])
    base = notes.removesuffix("annotations").removesuffix("/")
    base = base if is_folder(join(base, "images")) else notes
    clean = _labels(join(notes, "clean_label_kv.txt"))
    given = _labels(join(notes, "noisy_label_kv.txt")) if train == "noisy" else clean
    rows = _rows(base, join(notes, f"{train}_train_key_list.txt"), given, "train")
    for split in EXPECTED_TEST:
        rows += _rows(base, join(notes, f"clean_{split}_key_list.txt"), clean, split)
    names = read_lines(join(notes, _NAMES)) if is_there(join(notes, _NAMES)) else []
    extra = {"clean_label": [clean.get(row.id, "") for row in rows]}
    extra |= class_names([row.label for row in rows], names, first=0)
    return Listing(rows=rows, expected={"train": EXPECTED[train], **EXPECTED_TEST}, extra=extra)


def _labels(file: str) -> dict[str, str]:
    return dict(read_labelled(file, has_commas=False))


def _rows(base: str, file: str, labels: dict[str, str], split: str) -> list[Row]:
    keys = read_lines(file)
    missing = next((key for key in keys if key not in labels), None)
    if missing is not None:
        raise InputError(f"{missing} of {file} has no label: a label file may be truncated")
    return [Row(key, join(base, key), labels[key], split) for key in keys]
