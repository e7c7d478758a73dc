"""Which rows train, which ask and which answer.

- `query-gallery`: train on the training split; test rows (or `query` rows) search among the
  training rows (or `gallery` rows). For sets whose classes are known in advance.
- `class-disjoint`: the first half of the classes trains; every row of the second half searches
  among all others of that half. The usual zero-shot retrieval protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cache.errors import InputError

Name = Literal["query-gallery", "class-disjoint"]
NAMES: tuple[Name, ...] = ("query-gallery", "class-disjoint")
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Row numbers of each role and the labels behind them.

    Attributes:
        protocol: its name.
        train: rows to train on, with the labels as given.
        query: rows that search.
        gallery: rows that are searched.
        own_rows: (Q,) each query's place in the gallery, where queries are the gallery; else None.
        given: (N,) int64, the given label of every row.
        true: (N,) int64, the true label where the manifest has one, else the given one.
        classes: names of the label numbers.
        val: rows of the split "val", which take no other part; None without a split column.
    """

    protocol: Name
    train: Rows
    query: Rows
    gallery: Rows
    own_rows: Rows | None
    given: Rows
    true: Rows
    classes: tuple[str, ...]
    val: Rows | None = None


def split(rows: pa.Table, protocol: Name | None = None) -> Split:
    """Divides the rows of a store.

    Args:
        rows: columns label and optionally split, true_label, as in `FeatureStore.rows`.
        protocol: which one; None takes `query-gallery` where there are splits and a query's class
            occurs in the gallery, else `class-disjoint`.

    Raises:
        InputError: no rows to train on, fewer than two training classes, or no query that has an
            item of its class in the gallery.
    """
    given, true, classes = _numbered(rows)
    splits = np.array(rows["split"].to_pylist()) if "split" in rows.column_names else None
    roles = _roles(true, splits, protocol)
    # Where classes are divided, rows of the split "val" train or are searched like all others.
    val = None if splits is None or protocol == "class-disjoint" else _rows(splits, "val")
    result = Split(*roles, given=given, true=true, classes=classes, val=val)
    _check(result)
    return result


def everything(rows: pa.Table) -> Split:
    """Takes all rows of the training split for training, or all rows where there are no splits.

    Nobody searches. For what looks at labels alone, and needs no rows to evaluate.

    Args:
        rows: as in `split`.
    """
    given, true, classes = _numbered(rows)
    train = np.arange(len(given))
    if "split" in rows.column_names:
        train = _rows(np.array(rows["split"].to_pylist()), "train")
    nobody = train[:0]
    return Split("query-gallery", train, nobody, nobody, None, given, true, classes)


def _numbered(rows: pa.Table) -> tuple[Rows, Rows, tuple[str, ...]]:
    """Number given and true labels, (N,) each, and name the numbers."""
    given_names = rows["label"].to_pylist()
    is_known = "true_label" in rows.column_names
    true_names = rows["true_label"].to_pylist() if is_known else given_names
    true_names = [true or given for true, given in zip(true_names, given_names, strict=True)]
    classes = tuple(sorted({*given_names, *true_names}, key=_natural))
    number = {name: at for at, name in enumerate(classes)}
    given = np.array([number[name] for name in given_names], dtype=np.int64)
    true = np.array([number[name] for name in true_names], dtype=np.int64)
    return given, true, classes


def _roles(
    true: Rows, splits: NDArray[np.str_] | None, protocol: Name | None
) -> tuple[Name, Rows, Rows, Rows, Rows | None]:
    if splits is None:
        if protocol == "query-gallery":
            raise InputError(
                "protocol query-gallery needs a split column (train, test) and the store has none: "
                "use --protocol class-disjoint or add the column and extract again"
            )
        return _by_classes(true)
    if protocol == "class-disjoint":
        return _by_classes(true)
    train, query = _rows(splits, "train"), _rows(splits, "test", "query")
    gallery = _rows(splits, "gallery") if "gallery" in splits else train
    is_known = bool(np.isin(true[query], true[gallery]).any())
    if protocol is None and not is_known and len(query):
        # The test classes are new: test rows search among themselves.
        return "class-disjoint", train, query, query, np.arange(len(query))
    return "query-gallery", train, query, gallery, None


def _by_classes(true: Rows) -> tuple[Name, Rows, Rows, Rows, Rows | None]:
    present = np.unique(true)
    is_seen = np.isin(true, present[: len(present) // 2])
    train, test = np.flatnonzero(is_seen), np.flatnonzero(~is_seen)
    return "class-disjoint", train, test, test, np.arange(len(test))


def _rows(splits: NDArray[np.str_], *names: str) -> Rows:
    return np.flatnonzero(np.isin(splits, names))


def _check(result: Split) -> None:
    num_classes = len(np.unique(result.given[result.train]))
    if num_classes < 2:
        raise InputError(
            f"{len(result.train)} training rows of {num_classes} classes under protocol "
            f"{result.protocol}: at least 2 classes are needed to train"
        )
    if not len(result.query):
        raise InputError(
            "no rows to evaluate: the split column has no test (or query) rows; add some or use "
            "--protocol class-disjoint"
        )
    if result.own_rows is None:
        has_match = np.isin(result.true[result.query], result.true[result.gallery]).any()
    else:
        has_match = (np.bincount(result.true[result.query]) > 1).any()
    if not has_match:
        advice = "" if result.own_rows is not None else ", or use --protocol class-disjoint"
        raise InputError(
            f"none of the {len(result.query)} test rows has another row of its class to find under "
            f"protocol {result.protocol}: check the labels{advice}"
        )


def _natural(name: str) -> tuple[int, int, str]:
    """Sorts whole numbers by value, before all other names."""
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)
