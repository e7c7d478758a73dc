"""CIFAR python batches, and the labels that people gave their images (CIFAR-N)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import InputError
from pipeline.datasets.official._files import find_base
from pipeline.datasets.official._listing import Row
from pipeline.extraction.containers import MARK
from pipeline.extraction.containers._batch import load_batch
from pipeline.extraction.containers._pickled import plain_pickles

_LEGACY_PICKLES = 4  # torch's old format: magic number, version, system, then the object


def batches(
    root: Path, folder: str, names: Mapping[str, str]
) -> tuple[Path, dict[str, Mapping[str, Any]]]:
    """Read the batches, file name -> split, in their order.

    Returns:
        The folder they lie in, and the content of each by file name.

    Raises:
        InputError: one is missing or damaged.
    """
    base = Path(find_base(root, next(iter(names)), [folder], in_archives=False))
    missing = next((name for name in names if not (base / name).is_file()), None)
    if missing is not None:
        raise InputError(f"no {missing} in {base}: unpack the data set again")
    return base, {name: load_batch(base / name) for name in names}


def batch_rows(base: Path, name: str, labels: list[int], split: str) -> list[Row]:
    """List the pictures of a batch; the id is `data_batch_1::17`."""
    return [
        Row(f"{name}{MARK}{at}", f"{base / name}{MARK}{at}", str(label), split)
        for at, label in enumerate(labels)
    ]


def batch_labels(batch: Mapping[str, Any], key: str, name: str) -> list[int]:
    """Return one of a batch's columns of labels.

    Raises:
        InputError: it is missing or does not fit the pictures.
    """
    labels = batch.get(key)
    if not isinstance(labels, list) or len(labels) != len(batch["data"]):
        raise InputError(f"{name} has no {key!r} for its {len(batch['data'])} pictures")
    return [int(label) for label in labels]


def meta_names(file: Path, key: str) -> list[str]:
    """Return the class names of the meta file; none where it is missing."""
    if not file.is_file():
        return []
    found = plain_pickles(file.read_bytes(), str(file))[0]
    return [str(name) for name in found.get(key, [])] if isinstance(found, dict) else []


def with_human_labels(rows: list[Row], root: Path, base: Path, file: str, column: str) -> list[Row]:
    """Give training rows the labels of people; the official ones become the true labels.

    The rows have to be in the order of the batches, which is the order of the labels.

    Raises:
        InputError: the file is missing or damaged, or its own clean labels are not the batches'.
    """
    places = [folder / file for folder in (base, root, root / "data", base.parent)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        folders = ", ".join(dict.fromkeys(str(place.parent) for place in places))
        raise InputError(f"no {file} in {folders}: the labels of people are in it")
    found = _load_torch(path)
    train = [row for row in rows if row.split == "train"]
    clean, given = (_column(found, name, len(train), path) for name in ("clean_label", column))
    if clean != [row.label for row in train]:
        raise InputError(
            f"the clean labels of {path} are not those of the batches in {base}: the order of the "
            "images differs"
        )
    human = [
        row._replace(label=label, true_label=row.label)
        for row, label in zip(train, given, strict=True)
    ]
    return human + [row._replace(true_label=row.label) for row in rows if row.split != "train"]


def _column(found: Mapping[str, Any], name: str, count: int, path: Path) -> list[str]:
    values = np.asarray(found.get(name, []))
    if values.shape != (count,) or values.dtype.kind not in "iu":
        columns = ", ".join(map(repr, found)) or "none"
        raise InputError(f"{path} has no {name!r} of {count} whole numbers, its columns: {columns}")
    return [str(value) for value in values.tolist()]


def _load_torch(path: Path) -> Mapping[str, Any]:
    """Read a dictionary of arrays that `torch.save` wrote, without torch."""
    content = path.read_bytes()
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inner = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
            content = archive.read(inner) if inner else b""
        found = plain_pickles(content, str(path))[0]
    else:
        found = plain_pickles(content, str(path), count=_LEGACY_PICKLES)[-1]
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no dictionary of labels: it is another file")
    return found
