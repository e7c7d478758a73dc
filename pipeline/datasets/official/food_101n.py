"""Food-101N: web images of 101 dishes, about a fifth wrongly labelled; Food-101 tests.

Layout: PRISM's lists `FOOD_train.csv` and `FOOD_test.csv` with the images they name, or the
original release (`images/`, `meta/imagelist.tsv`, `meta/classes.txt`) with `food-101/` beside it.
Whether a label was verified as right or wrong (1 or 0) is the extra column `verified`; that is no
class label.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Literal

from cache.errors import InputError
from pipeline.datasets.official._files import find_base, first_with, locate, read_lines
from pipeline.datasets.official._listing import Listing, Row
from pipeline.datasets.official._lists import list_rows
from pipeline.extraction.containers import is_there, join

TRAIN_CLASSES = 50
EXPECTED = {"train": (144_086, 50), "test": (51_000, 51)}
EXPECTED_CLOSED = {"train": (310_009, 101), "test": (25_250, 101)}
_VERIFIED = ("verified_train.tsv", "verified_val.tsv")


def read(
    root: Path, *, protocol: Literal["class-disjoint", "closed-set"] = "class-disjoint"
) -> Listing:
    """List the dishes; the id is the path in a list, or the class and file of the release.

    Args:
        root: the folder of PRISM's lists, or of the release.
        protocol: "class-disjoint" trains on the first 50 classes (by number in PRISM's lists, by
            name in the release) and tests on Food-101's images of the other 51; "closed-set"
            trains on all classes and tests on Food-101's test images. Lists are class-disjoint.
    """
    base = locate(root, "FOOD_train.csv", ["datalist"])
    if base is not None and protocol == "class-disjoint":
        images = str(root) if root.is_dir() else base
        rows = [
            row
            for split in EXPECTED
            for row in list_rows(images, join(base, f"FOOD_{split}.csv"), split)
        ]
        return Listing(rows=rows, expected=EXPECTED, notes=["layout: PRISM's lists"])
    return _release(root, is_closed=protocol == "closed-set")


def _release(root: Path, *, is_closed: bool) -> Listing:
    base = find_base(root, "meta/imagelist.tsv", ["Food-101N_release"])
    classes = _classes(base)
    chosen = classes if is_closed else classes[:TRAIN_CLASSES]
    keys = list(dict.fromkeys(_table(join(base, "meta/imagelist.tsv"))))
    stray = next((key for key in keys if key.partition("/")[0] not in classes), None)
    if stray is not None:
        raise InputError(f"the class of {stray} in meta/imagelist.tsv is not in meta/classes.txt")
    label_of = {name: str(number) for number, name in enumerate(classes, start=1)}
    train = [key for key in keys if key.partition("/")[0] in set(chosen)]
    rows = [
        Row(key, join(base, f"images/{key}"), label_of[key.partition("/")[0]], "train")
        for key in train
    ]
    rows += _clean_rows(root, base, classes if is_closed else classes[TRAIN_CLASSES:], label_of)
    verified = _verified(base)
    names = {number: name for name, number in label_of.items()}
    extra = {
        "class_name": [names[row.label] for row in rows],
        "verified": [verified.get(row.id, "") for row in rows],
    }
    return Listing(
        rows=rows,
        expected=EXPECTED_CLOSED if is_closed else EXPECTED,
        extra=extra,
        notes=["layout: the original release", *_double_names(train)],
    )


def _classes(base: str) -> list[str]:
    """Return the class names in order; the file may begin with a header."""
    lines = read_lines(join(base, "meta/classes.txt"))
    return sorted(lines[1:] if lines[:1] == ["class_name"] else lines)


def _table(path: str) -> list[str]:
    lines = read_lines(path)
    return lines[1:] if lines and lines[0].startswith("class_name") else lines


def _verified(base: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _VERIFIED:
        path = join(base, f"meta/{name}")
        if is_there(path):
            found |= dict(line.rsplit("\t", 1) for line in _table(path))
    return found


def _clean_rows(root: Path, base: str, classes: list[str], label_of: dict[str, str]) -> list[Row]:
    """List Food-101's images of some classes: all of them, or the test images of all classes."""
    marker = "meta/test.txt"
    places = [str(root / "food-101"), str(root.parent / "food-101"), join(base, "food-101")]
    place = first_with(places, marker)
    if place is None:
        raise InputError(
            f"no {marker} in {', '.join(places)}: the clean images of Food-101 are the test images"
        )
    is_closed = len(classes) == len(label_of)
    keys = read_lines(join(place, marker))
    if not is_closed:
        keys += read_lines(join(place, "meta/train.txt"))
    return [
        Row(f"food-101/{key}.jpg", join(place, f"images/{key}.jpg"), label_of[name], "test")
        for key in sorted(keys)
        if (name := key.partition("/")[0]) in set(classes)
    ]


def _double_names(keys: list[str]) -> list[str]:
    """Tell of files that are listed under several classes, with the ids that they have there."""
    found = defaultdict(list)
    for key in keys:
        found[key.rpartition("/")[2]].append(key)
    return [
        f"listed under {len(ids)} classes: {', '.join(ids)}"
        for ids in found.values()
        if len(ids) > 1
    ]
