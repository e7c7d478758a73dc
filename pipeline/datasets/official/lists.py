"""Label lists in the form of PRISM, XBM and Multi-Similarity: lines of a path and a label.

The line is split at its last comma, or at its last space where it has no comma. Labels stay as
the list has them: lists of one set differ in where they start, so never compare lists by number.
"""

from __future__ import annotations

from pathlib import Path

from cache.errors import InputError
from pipeline.datasets.official._listing import Listing
from pipeline.datasets.official._lists import list_rows


def read(root: Path, *, train: str, test: str) -> Listing:
    """List the images of two lists; the id is the path as a list has it.

    Args:
        root: the folder of the images; absolute paths in the lists are sought below it.
        train: the list of training images, a file in the root or a path.
        test: the list of test images.
    """
    files = {"train": _list_file(root, train), "test": _list_file(root, test)}
    rows = [row for split, file in files.items() for row in list_rows(str(root), file, split)]
    return Listing(rows=rows, expected={})


def _list_file(root: Path, name: str) -> str:
    places = [root / name, Path(name)]
    place = next((place for place in places if place.is_file()), None)
    if place is None:
        raise InputError(f"no list {name} in {root} or here: give the name of a text file")
    return str(place)
