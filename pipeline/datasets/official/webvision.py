"""WebVision 1.0: 1,000 classes of images found by search engines, and its 50-class partition.

Layout: `info/train_filelist_google.txt`, `info/train_filelist_flickr.txt`, `info/val_filelist.txt`
(path and label from 0) and the images of the 256-pixel release. Partitions, each known by its
name and by the digest that `dml data` prints:

- `all`: every class; validation images test.
- `mini`: the first 50 classes, closed set; validation images of these classes test.
- `mini-disjoint`: of these 50 classes the first 25 train, and validation images of the other 25
  test, so that retrieval is judged on classes never trained on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cache.errors import InputError
from pipeline.datasets.official._files import beside, find_base, first_with, read_labelled
from pipeline.datasets.official._listing import Listing, Row
from pipeline.extraction.containers import join

# Training classes and test classes by partition; labels from 0.
PARTITIONS = {
    "all": (range(1000), range(1000)),
    "mini": (range(50), range(50)),
    "mini-disjoint": (range(25), range(25, 50)),
}
GOOGLE = (980_449, 1000)
VALIDATION_PER_CLASS = 50
_IMAGES = "val_images_256"


def read(
    root: Path,
    *,
    partition: Literal["all", "mini", "mini-disjoint"] = "all",
    source: Literal["google", "flickr", "google+flickr"] = "google",
) -> Listing:
    """List the images; the id is the path in the file list, for validation images `val/NAME`.

    Args:
        root: the set's folder, the one that holds `info`.
        partition: which classes train and which test.
        source: whose training images.
    """
    base = find_base(root, "info/val_filelist.txt", ["webvision"])
    train_classes, test_classes = PARTITIONS[partition]
    rows = []
    for name in source.split("+"):
        file = join(base, f"info/train_filelist_{name}.txt")
        for path, label in _labelled(file):
            if label in train_classes:
                rows.append(Row(path, join(base, path), str(label), "train"))
    validation = _labelled(join(base, "info/val_filelist.txt"))
    place = first_with(beside(base, _IMAGES), validation[0][0]) or join(base, _IMAGES)
    rows += [
        Row(f"val/{path}", join(place, path), str(label), "test")
        for path, label in validation
        if label in test_classes
    ]
    train = GOOGLE if (partition, source) == ("all", "google") else (None, len(train_classes))
    test = (VALIDATION_PER_CLASS * len(test_classes), len(test_classes))
    return Listing(
        rows=rows,
        expected={"train": train, "test": test},
        notes=[f"partition {partition} of the {source} images"],
    )


def _labelled(file: str) -> list[tuple[str, int]]:
    pairs = read_labelled(file, has_commas=False)
    wrong = next((pair for pair in pairs if not pair[1].isdecimal()), None)
    if wrong is not None:
        raise InputError(f"{file} labels {wrong[0]} with {wrong[1]!r}: expected a number from 0")
    return [(path, int(label)) for path, label in pairs]
