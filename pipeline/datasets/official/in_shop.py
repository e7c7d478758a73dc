"""In-Shop (DeepFashion): 7,982 garments; train, query and gallery as officially divided.

Layout: `Eval/list_eval_partition.txt` and the images under `Img/img/` or `img/`, or in
`img.zip` there; `Anno/list_bbox_inshop.txt` where it is present. The superlabel is the garment's
category, as in WOMEN/Dresses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cache.errors import InputError
from pipeline.datasets.official._files import (
    beside,
    find_base,
    first_with,
    locate,
    read_fields,
    read_lines,
)
from pipeline.datasets.official._listing import Count, Listing, Row
from pipeline.extraction.containers import is_there, join

PARTITION = "list_eval_partition.txt"
BOXES = "list_bbox_inshop.txt"
EXPECTED = {
    "train": (25882, 3997),
    "query": (14218, None),
    "gallery": (12612, None),
    "query+gallery": (26830, 3985),
    "train+query+gallery": (52712, 7982),
}
_FOLDER = "In-shop Clothes Retrieval Benchmark"


def read(root: Path, *, images: Literal["img", "img_highres"] = "img") -> Listing:
    """List the garments; the id is the path in the partition file.

    Args:
        root: the set's folder, the one that holds `Eval`, or an archive of it.
        images: "img" are 256 x 256 pictures, "img_highres" the large ones: other pixels, so
            other results.
    """
    file, base = _partition_file(root)
    announced, fields = read_lines(file)[0], list(read_fields(file, 3, skip=2))
    place = _image_place(base, images, fields[0][0] if fields else "")
    rows = [
        Row(name, join(place, _tail(name)), item, status, "/".join(name.split("/")[1:3]))
        for name, item, status in fields
    ]
    if not announced.isdecimal():
        raise InputError(f"line 1 of {file} is {announced[:80]!r}: expected the number of rows")
    kinds, notes = _clothes_types(base, rows)
    return Listing(
        rows=rows,
        expected=EXPECTED,
        counts=[Count(f"rows of {PARTITION} by its first line", int(announced), len(rows))],
        extra=kinds,
        notes=[f"images: {images}, in {place}", *notes],
    )


def _partition_file(root: Path) -> tuple[str, str]:
    """Return the path of the partition file and the folder that the images lie below."""
    base = locate(root, f"Eval/{PARTITION}", [_FOLDER])
    if base is not None:
        return join(base, f"Eval/{PARTITION}"), base
    base = find_base(root, PARTITION, ["Eval", _FOLDER])
    return join(base, PARTITION), base


def _image_place(base: str, images: str, first: str) -> str:
    places = [*beside(base, images), *beside(join(base, "Img"), images)]
    place = first_with(places, _tail(first))
    if place is None:
        raise InputError(f"no {_tail(first)} in {', '.join(places)}: the images are not there")
    return place


def _tail(name: str) -> str:
    return name.partition("/")[2]


def _clothes_types(base: str, rows: list[Row]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the column of upper-body, lower-body or full-body clothes where its file is there."""
    files = [join(base, f"Anno/{BOXES}"), join(base, BOXES)]
    file = next(filter(is_there, files), None)
    if file is None:
        return {}, [f"no Anno/{BOXES}: the column clothes_type is left out"]
    kinds = {name: kind for name, kind, _ in read_fields(file, 3, skip=2)}
    return {"clothes_type": [kinds.get(row.id, "") for row in rows]}, []
