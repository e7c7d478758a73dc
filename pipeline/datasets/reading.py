"""Reads a published data set by name, checks its counts and makes the manifest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.errors import InputError
from pipeline.choices import catalogue
from pipeline.choices.catalogue import Value
from pipeline.choices.values import parse_value
from pipeline.datasets.manifest import Manifest, make_manifest
from pipeline.datasets.official._listing import Count, Listing, Row
from pipeline.extraction.containers import MARK, is_there

KIND: catalogue.Kind = "datasets.official"


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A published data set as it was found.

    Attributes:
        name: its name in `dml list datasets`.
        manifest: its images.
        extra: more columns for the table, one text for each row.
        counts: what was counted, with the published numbers.
        notes: remarks, a line each.
        digest: hex sha256 over id, label, split, superlabel and true label of all rows, sorted by
            id: the same for everybody who has the same data, wherever they lie.
    """

    name: str
    manifest: Manifest
    extra: Mapping[str, Sequence[str]]
    counts: tuple[Count, ...]
    notes: tuple[str, ...]
    digest: str

    @property
    def mismatches(self) -> tuple[Count, ...]:
        """The counts that are not as published."""
        return tuple(count for count in self.counts if not count.is_right)


def read_data_set(name: str, root: Path, changes: Iterable[str] = ()) -> DataSet:
    """Read a data set from its official files.

    Args:
        name: see `dml list datasets`.
        root: the folder that holds its files, or an archive of it.
        changes: `key=value` options.

    Raises:
        InputError: an unknown name or option, a missing or damaged file, a wrong folder, or not
            one of the images is there.
    """
    entry = catalogue.find(KIND, name)
    options = _options(entry, changes)
    root = root.expanduser().absolute()
    if not root.exists():
        raise InputError(f"--root {root} does not exist: expected the folder of {name}")
    listing: Listing = entry.load().read(root, **options)
    if not listing.rows:
        raise InputError(f"{root} lists no images of {name}: its files are empty")
    images = _count_files(listing.rows, root)
    return DataSet(
        name=name,
        manifest=_manifest(listing.rows, root if root.is_dir() else root.parent),
        extra=listing.extra,
        counts=(*_split_counts(listing), *listing.counts, images),
        notes=tuple(listing.notes),
        digest=_digest(listing.rows),
    )


def _options(entry: catalogue.Entry, changes: Iterable[str]) -> dict[str, Value]:
    options: dict[str, Value] = {}
    for text in changes:
        key, is_pair, value = text.partition("=")
        if not is_pair or not key:
            raise InputError(f"--set {text!r}: expected key=value, for example partition=mini")
        options[key] = parse_value(value)
    entry.check(options)
    for option in entry.options.values():
        if option.is_required and option.name not in options:
            raise InputError(
                f"{entry.name} needs --set {option.name}=VALUE: it is {option.expected}"
            )
    return options


def _manifest(rows: Sequence[Row], root: Path) -> Manifest:
    below = f"{root}/"
    ids, paths, labels, splits, superlabels, true_labels = zip(*rows, strict=True)
    return make_manifest(
        ids=ids,
        paths=[path.removeprefix(below) for path in paths],
        labels=labels,
        root=root,
        splits=splits if any(splits) else None,
        superlabels=superlabels if any(superlabels) else None,
        true_labels=true_labels if any(true_labels) else None,
    )


def _split_counts(listing: Listing) -> list[Count]:
    """Compare images and classes of each split with the published numbers."""
    counts = []
    for name, (images, classes) in listing.expected.items():
        splits = set(name.split("+"))
        labels = [row.label for row in listing.rows if row.split in splits]
        if images is not None:
            counts.append(Count(f"{name} images", images, len(labels)))
        if classes is not None:
            counts.append(Count(f"{name} classes", classes, len(set(labels))))
    return counts


def _count_files(rows: Sequence[Row], root: Path) -> Count:
    """Count the listed images that are there, with one look into each folder.

    Raises:
        InputError: none is.
    """
    folders: dict[str, frozenset[str]] = {}
    found = 0
    for row in rows:
        if MARK in row.path:
            found += is_there(row.path)
            continue
        folder, _, name = row.path.rpartition("/")
        if folder not in folders:
            folders[folder] = _names_in(folder)
        found += name in folders[folder]
    if not found:
        raise InputError(
            f"none of the {len(rows):,} listed images lies in {root}, for example {rows[0].path}: "
            "unpack the images there, or give another --root"
        )
    return Count("image files that are there", len(rows), found)


def _names_in(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


def _digest(rows: Iterable[Row]) -> str:
    digest = hashlib.sha256()
    for row in sorted(rows):
        facts = [row.id, row.label, row.split, row.superlabel, row.true_label]
        digest.update(json.dumps(facts).encode() + b"\n")
    return digest.hexdigest()
