"""Corrected labels in the place of the given ones, for the rows that train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cache.errors import InputError
from pipeline.labels.corrected_file import (
    CorrectedLabels,
    digest_of,
    read_corrected,
    refuse_other_rows,
)
from pipeline.training.protocol import Split


def corrected(roles: Split, path: str | None, rows: pa.Table, manifest: str) -> Split:
    """Give the rows that train or validate their corrected labels, and leave out dropped ones.

    Queries and gallery stay as they are, with the store's labels: a figure before a correction and
    one after it are about the same. A picture that trains and is searched, too, stays in the
    gallery even if it is dropped. What is known to be right, a manifest's true label, stays so; for
    other rows it is the corrected label from now on, unless the labels had been made wrong on
    purpose.

    Args:
        roles: of the store's rows.
        path: the corrected labels; None leaves the roles as they are.
        rows: the store's readable rows.
        manifest: digest of its manifest.

    Raises:
        InputError: the file cannot be used, is of another manifest or other labels, or leaves fewer
            than two classes to train on.
    """
    if path is None:
        return roles
    overlay, at = rows_of(Path(path), rows, manifest)
    learns = np.zeros(rows.num_rows, dtype=bool)
    learns[roles.train] = True
    if roles.val is not None:
        learns[roles.val] = True
    names = [overlay.labels[place] for place in at]
    number = {name: value for value, name in enumerate(roles.classes)}
    for row in np.flatnonzero(learns).tolist():
        number.setdefault(names[row], len(number))  # a new class
    given, true = roles.given.copy(), roles.true.copy()
    given[learns] = [number[names[row]] for row in np.flatnonzero(learns).tolist()]
    if overlay.facts.noise is None:
        unknown = learns & ~_has_truth(rows)
        true[unknown] = given[unknown]
    dropped = np.array([overlay.decisions[place] == "drop" for place in at])
    train = roles.train[~dropped[roles.train]]
    num_classes = len(np.unique(given[train]))
    if num_classes < 2:
        raise InputError(
            f"the corrected labels {path} leave {len(train)} training rows of {num_classes} "
            "classes: at least 2 classes are needed to train"
        )
    val = None if roles.val is None else roles.val[~dropped[roles.val]]
    return replace(roles, train=train, val=val, given=given, true=true, classes=tuple(number))


def correction_facts(roles: Split, path: str, rows: pa.Table, manifest: str) -> dict[str, Any]:
    """Say what corrected labels change for the training rows, as plain values for the record.

    Args:
        roles: as they are without the correction.
        path: as for `corrected`.
        rows: as for `corrected`.
        manifest: as for `corrected`.
    """
    overlay, at = rows_of(Path(path), rows, manifest)
    train = [at[row] for row in roles.train.tolist()]
    kept = [place for place in train if overlay.decisions[place] != "drop"]
    return {
        "path": path,
        "file": str(Path(path).absolute()),
        "sha256": digest_of(Path(path)),
        "version": overlay.version,
        "decisions": overlay.counts(),
        "corrected": sum(overlay.labels[place] != overlay.given[place] for place in kept),
        "dropped": len(train) - len(kept),
    }


def rows_of(path: Path, rows: pa.Table, manifest: str) -> tuple[CorrectedLabels, list[int]]:
    """Read corrected labels and find the place of every row of a store in them.

    Args:
        path: of the corrected labels.
        rows: M rows of the store.
        manifest: digest of its manifest.

    Returns:
        the labels, and M places in them.

    Raises:
        InputError: the file cannot be used, or is of another manifest or other labels.
    """
    overlay = read_corrected(path)
    ids = rows["id"].to_pylist()
    labels = dict(zip(ids, rows["label"].to_pylist(), strict=True))
    refuse_other_rows(overlay, path, manifest, labels)
    place = {key: at for at, key in enumerate(overlay.ids)}
    return overlay, [place[key] for key in ids]


def _has_truth(rows: pa.Table) -> NDArray[np.bool_]:
    """Tell the rows with a true label of the manifest: (M,)."""
    if "true_label" not in rows.column_names:
        return np.zeros(rows.num_rows, dtype=bool)
    return np.array([bool(name) for name in rows["true_label"].to_pylist()])
