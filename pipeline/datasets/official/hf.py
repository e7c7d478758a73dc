"""A Hugging Face `datasets` folder: Parquet files with the images' bytes in them.

The split is in the file's or folder's name (`train-00000-of-00002.parquet`, `test/0000.parquet`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cache.errors import InputError
from pipeline.datasets.official._listing import Listing, Row, class_names
from pipeline.extraction.containers import MARK
from pipeline.extraction.containers._parquet import image_columns, reading

_LABELS = ("label", "labels", "fine_label", "class", "category")
_SUPERLABEL = "coarse_label"
_SPLITS = {
    "train": "train",
    "test": "test",
    "query": "query",
    "gallery": "gallery",
} | dict.fromkeys(("validation", "valid", "val", "dev"), "val")
_SPLIT_NAME = re.compile(rf"(?:^|[/_-])({'|'.join(_SPLITS)})(?=[/._-])")


def read(root: Path, *, image: str = "auto", label: str = "auto") -> Listing:
    """List the rows of all Parquet files; the id is `data/train-00000-of-00001.parquet::17`.

    Args:
        root: the folder, or one Parquet file.
        image: the column of images; "auto" takes the only one that can hold images.
        label: the column of labels; "auto" takes the only one of the type ClassLabel, or the one
            named label, labels, fine_label, class or category.
    """
    files = [root] if root.is_file() else sorted(root.rglob("*.parquet"))
    top = root.parent if root.is_file() else root
    names_of = {file: file.relative_to(top).as_posix() for file in files}
    names_of = {file: name for file, name in names_of.items() if "/." not in f"/{name}"}
    if not names_of:
        raise InputError(f"no .parquet file in {root}: give the folder of the data set with --root")
    rows: list[Row] = []
    names: list[str] = []
    for file, name in names_of.items():
        found, classes = _rows(file, name, image, label)
        rows += found
        column = class_names([row.label for row in found], classes, first=0)
        names += column.get("class_name", [""] * len(found))
    if len({bool(row.split) for row in rows}) > 1:
        raise InputError(f"some files in {root} name their split and some do not: rename them")
    extra = {"class_name": names} if any(names) else {}
    return Listing(rows=rows, expected={}, extra=extra, notes=[f"{len(names_of)} Parquet files"])


def _rows(file: Path, name: str, image: str, label: str) -> tuple[list[Row], list[str]]:
    with reading(file), pq.ParquetFile(file) as parquet:
        schema = parquet.schema_arrow
        features = _features(schema)
        images = _chosen("image", image, image_columns(schema), schema, file)
        labels = _chosen("label", label, _label_columns(schema, features), schema, file)
        columns = [labels, *({_SUPERLABEL} & {*schema.names} - {labels})]
        table = parquet.read(columns=columns).to_pydict()
    if None in table[labels]:
        raise InputError(f"row {table[labels].index(None)} of {file} has no {labels}")
    coarse = table.get(_SUPERLABEL) or [""] * len(table[labels])
    split = _SPLIT_NAME.search(name)
    rows = [
        Row(
            f"{name}{MARK}{at}",
            f"{file.absolute()}{MARK}{images}/{at}",
            str(value),
            _SPLITS[split[1]] if split else "",
            str(coarse[at]),
        )
        for at, value in enumerate(table[labels])
    ]
    classes = features.get(labels, {}).get("names") or []
    return rows, list(classes)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Return what the `datasets` library noted about the columns."""
    try:
        noted = json.loads((schema.metadata or {})[b"huggingface"])
        return {name: dict(kind) for name, kind in noted["info"]["features"].items()}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _label_columns(schema: pa.Schema, features: dict[str, Any]) -> list[str]:
    noted = [name for name, kind in features.items() if kind.get("_type") == "ClassLabel"]
    noted = [name for name in noted if name in schema.names]
    if len(noted) == 1:
        return noted
    return [name for name in _LABELS if name in schema.names][:1]


def _chosen(what: str, given: str, found: list[str], schema: pa.Schema, file: Path) -> str:
    if given != "auto":
        if given not in schema.names:
            raise InputError(f"{file} has no column {given!r}, only {', '.join(schema.names)}")
        return given
    if len(found) != 1:
        candidates = " and ".join(map(repr, found)) or "none"
        raise InputError(
            f"{file} has the columns {', '.join(schema.names)}, of these {candidates} can be the "
            f"{what}: choose with --set {what}=COLUMN"
        )
    return found[0]
