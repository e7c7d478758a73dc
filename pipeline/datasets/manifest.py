"""The list of images that every data source is turned into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cache.errors import InputError
from cache.places.urls import Location

SPLITS = ("train", "val", "test", "query", "gallery")


@dataclass(frozen=True)
class Manifest:
    """N images with their labels; build it with `make_manifest`, which checks it.

    Attributes:
        ids: N distinct names; everything else in this project is joined by them.
        paths: N image files: URLs, absolute paths, or relative to `root`.
        labels: N given labels, possibly wrong.
        root: Folder or URL that relative paths start from.
        splits: N names from `SPLITS`, or None if the data is not divided.
        superlabels: N coarser labels, or None.
        true_labels: N labels known to be right, or None if nobody knows them.
        sizes: N numbers of bytes, if they were seen when the images were listed.
    """

    ids: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    root: Location
    splits: tuple[str, ...] | None = None
    superlabels: tuple[str, ...] | None = None
    true_labels: tuple[str, ...] | None = None
    sizes: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)


def make_manifest(
    *,
    ids: Sequence[str],
    paths: Sequence[str],
    labels: Sequence[str],
    root: Location,
    splits: Sequence[str] | None = None,
    superlabels: Sequence[str] | None = None,
    true_labels: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
) -> Manifest:
    """Check the columns and put them together.

    Raises:
        InputError: there is no row, fewer than two classes, an empty cell, a duplicate id, an
            unknown split, or columns of different lengths.
    """
    columns = {
        "id": ids,
        "path": paths,
        "label": labels,
        "split": splits,
        "superlabel": superlabels,
        "true_label": true_labels,
    }
    frozen = {name: tuple(column) for name, column in columns.items() if column is not None}
    for name, column in frozen.items():
        _check_full(name, column, len(ids))
    _check_ids(frozen["id"])
    _check_classes(frozen["label"])
    _check_splits(frozen.get("split", ()))
    return Manifest(
        ids=frozen["id"],
        paths=frozen["path"],
        labels=frozen["label"],
        root=root,
        splits=frozen.get("split"),
        superlabels=frozen.get("superlabel"),
        true_labels=frozen.get("true_label"),
        sizes=None if sizes is None else tuple(sizes),
    )


def _check_full(name: str, column: Sequence[str], num_rows: int) -> None:
    if len(column) != num_rows:
        raise InputError(f"column {name!r} has {len(column)} rows, but 'id' has {num_rows}")
    if "" in column:
        raise InputError(
            f"row {column.index('') + 1} has an empty {name}: fill it in or remove the row"
        )


def _check_ids(ids: Sequence[str]) -> None:
    if not ids:
        raise InputError(
            "the data has no rows: at least two images of different classes are needed"
        )
    if len(set(ids)) < len(ids):
        duplicate, times = next(pair for pair in Counter(ids).items() if pair[1] > 1)
        raise InputError(
            f"the id {duplicate!r} occurs {times} times: ids must be distinct, so remove the "
            "duplicates or add a column 'id'"
        )


def _check_classes(labels: Sequence[str]) -> None:
    if len(set(labels)) < 2:
        raise InputError(
            f"all {len(labels)} images have the label {labels[0]!r}: there is nothing to tell "
            "apart, at least two classes are needed"
        )


def _check_splits(splits: Sequence[str]) -> None:
    unknown = next((split for split in splits if split not in SPLITS), None)
    if unknown is not None:
        row = splits.index(unknown) + 1
        raise InputError(
            f"row {row} has the split {unknown!r}: expected one of {', '.join(SPLITS)}"
        )
