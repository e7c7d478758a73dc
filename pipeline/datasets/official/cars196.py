"""Cars196: 196 models of cars, the first 98 classes train, the others test.

Four layouts are known by their files; all give the same division by class:
`cars_annos.mat` with `car_ims/`; `devkit/` with `cars_train/` and `cars_test/`; `anno_train.csv`
and `names.csv` with `car_data/` (by classes); `CARS_train.csv` and `CARS_test.csv` with folders of
class names (the lists of PRISM). The official division of images shares classes between its halves
and is not for metric learning.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from cache.errors import InputError
from pipeline.datasets.official._files import (
    beside,
    first_with,
    hint,
    is_litter,
    locate,
    read_lines,
)
from pipeline.datasets.official._listing import Listing, Row, class_names
from pipeline.datasets.official._lists import list_rows
from pipeline.datasets.official._mat import load_structs, load_texts
from pipeline.extraction.containers import is_there, join

TRAIN_CLASSES = 98
EXPECTED = {"train": (8054, 98), "test": (8131, 98)}
_FOLDERS = ["cars196", "stanford_cars"]
_HALVES = ("train", "test")


def read(root: Path) -> Listing:
    """List the cars.

    The id is `car_ims/000001.jpg` in the first layout, `cars_train/00001.jpg` in the second and
    third (whose halves share file names), and the list's path in the fourth.
    """
    for marker, (title, read_layout) in _LAYOUTS.items():
        base = locate(root, marker, _FOLDERS)
        if base is None:
            continue
        rows, names = read_layout(base)
        kept = [row for row in rows if not is_litter(row.path)]
        extra = class_names([row.label for row in kept], names, first=1)
        return Listing(rows=kept, expected=EXPECTED, extra=extra, notes=[f"layout: {title}"])
    raise InputError(
        f"no {', '.join(_LAYOUTS)} in {root}: give the folder of Cars196 with --root{hint(root)}"
    )


def _old(base: str) -> tuple[list[Row], list[str]]:
    """Read `cars_annos.mat`: field 0 is the path, field 5 the class."""
    file = join(base, "cars_annos.mat")
    found = []
    for struct in load_structs(file, "annotations"):
        values = list(struct.values())
        found.append((str(values[0]), int(values[5])))
    place = _place(beside(base, "car_ims"), _name(found[0][0]))
    rows = [_row(path, join(place, _name(path)), label) for path, label in found]
    return rows, load_texts(file, "class_names")


def _devkit(base: str) -> tuple[list[Row], list[str]]:
    """Read the union of both halves of the devkit."""
    files = {
        "train": ["devkit/cars_train_annos.mat"],
        "test": ["devkit/cars_test_annos_withlabels.mat", "cars_test_annos_withlabels.mat"],
    }
    rows = []
    for half, names in files.items():
        file = next((name for name in names if is_there(join(base, name))), None)
        if file is None:
            raise InputError(
                f"no {' or '.join(names)} in {base}: the labels of the {half} half are in it"
            )
        structs = load_structs(join(base, file), "annotations")
        found = [(str(struct["fname"]), int(struct["class"])) for struct in structs]
        place = _place(beside(base, f"cars_{half}"), found[0][0])
        rows += [_row(f"cars_{half}/{name}", join(place, name), label) for name, label in found]
    return rows, load_texts(join(base, "devkit/cars_meta.mat"), "class_names")


def _by_classes(base: str) -> tuple[list[Row], list[str]]:
    """Read the tables without header: file, box (4 columns), class."""
    names = [",".join(fields) for fields in csv.reader(read_lines(join(base, "names.csv")))]
    rows = []
    for half in _HALVES:
        found = list(_table(join(base, f"anno_{half}.csv"), len(names)))
        folders = [name.replace("/", "-") for name in names]
        paths = [f"{folders[label - 1]}/{file}" for file, label in found]
        places = [f"car_data/car_data/{half}", f"car_data/{half}", half]
        place = _place([join(base, each) for each in places], paths[0])
        rows += [
            _row(f"cars_{half}/{file}", join(place, path), label)
            for (file, label), path in zip(found, paths, strict=True)
        ]
    return rows, names


def _table(path: str, num_classes: int) -> Iterator[tuple[str, int]]:
    for number, fields in enumerate(csv.reader(read_lines(path)), start=1):
        label = fields[-1].strip()
        if len(fields) != 6 or not label.isdecimal() or not 1 <= int(label) <= num_classes:
            raise InputError(
                f"line {number} of {path} is {','.join(fields)[:80]!r}: expected file, x1, y1, x2, "
                f"y2 and a class from 1 to {num_classes}"
            )
        yield fields[0].strip(), int(label)


def _lists(base: str) -> tuple[list[Row], list[str]]:
    rows = [
        row for half in _HALVES for row in list_rows(base, join(base, f"CARS_{half}.csv"), half)
    ]
    return rows, []


def _row(row_id: str, path: str, label: int) -> Row:
    return Row(row_id, path, str(label), "train" if label <= TRAIN_CLASSES else "test")


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _place(bases: list[str], first: str) -> str:
    place = first_with(bases, first)
    if place is None:
        raise InputError(f"no {first} in {', '.join(bases)}: the images are not there")
    return place


_LAYOUTS: dict[str, tuple[str, Callable[[str], tuple[list[Row], list[str]]]]] = {
    "cars_annos.mat": ("cars_annos.mat and car_ims", _old),
    "devkit/cars_train_annos.mat": ("devkit, cars_train and cars_test", _devkit),
    "anno_train.csv": ("by classes, with anno_train.csv", _by_classes),
    "CARS_train.csv": ("folders of classes, with PRISM's lists", _lists),
}
