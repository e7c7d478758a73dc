"""Reading a feature store."""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cache.errors import StoreIncompleteError, StoreMismatchError
from cache.feature_rows import FeatureRows
from cache.fingerprint import JSON, Fingerprint
from cache.layout import Header
from cache.ledger import Ledger
from cache.rows import load_rows

_LISTED = 20  # unreadable rows that `describe` names


class Features(NamedTuple):
    """The features of all readable rows.

    Attributes:
        values: (N, F) in the store's dtype, in manifest order.
        rows: the same N rows as a table of strings.
        manifest: digest of the manifest's ids and file sizes, of readable rows and others.
    """

    values: NDArray[np.floating]
    rows: pa.Table
    manifest: str


class FeatureStore:
    """The features of one manifest, as far as they were finished when the store was opened.

    Attributes:
        path: absolute path of the store.
        fingerprint: the facts that made the features.
        root: folder that the paths of the rows are relative to.
        rows: table of all manifest rows: id, path, label and, where given, split, superlabel
            and true_label, all of them strings.
        num_rows: number of manifest rows, readable or not.
        num_features: length F of one feature vector.
        chunk_rows: rows in each chunk; the last chunk may have fewer.
        num_chunks: number of chunks that hold all rows.
        finished_chunks: number of chunks whose features are there.
        is_complete: whether all chunks are finished.
        unreadable: manifest row -> why it has no feature, in manifest order.
        header: the parts of the above that are fixed when a store is made.
        ledger: the finished chunks.
    """

    def __init__(self, path: Path, header: Header, rows: pa.Table, ledger: Ledger) -> None:
        """Take the parts of a store; `open` reads them."""
        self.path = path
        self.fingerprint = header.fingerprint
        self.root = header.root
        self.rows = rows
        self.num_rows = header.num_rows
        self.num_features = header.fingerprint.num_features
        self.chunk_rows = header.chunk_rows
        self.num_chunks = header.num_chunks
        self.finished_chunks = len(ledger.chunks)
        self.is_complete = self.finished_chunks == self.num_chunks
        self.unreadable = ledger.unreadable()
        self.header = header
        self.ledger = ledger

    @classmethod
    def open(cls, path: str | Path) -> FeatureStore:
        """Read everything but the features.

        Raises:
            StoreNotFoundError: there is nothing at this path.
            InputError: there is something else than a store.
            StoreMismatchError: the store has a newer format than this program knows.
            StoreCorruptError: a file of the store is missing or damaged.
        """
        path = Path(path).resolve()
        header = Header.load(path)
        return cls(path, header, load_rows(path, header.num_rows), Ledger.load(path, header))

    def require(self, expected: Fingerprint, *, any_versions: bool = False) -> None:
        """Refuse a store whose features were made in another way.

        Args:
            expected: the facts asked for.
            any_versions: whether other versions of the libraries are accepted.

        Raises:
            StoreMismatchError: names the first field that differs, with both values.
        """
        for field, found, asked in self.fingerprint.differences(expected):
            if field == "versions" and any_versions:
                continue
            raise StoreMismatchError(
                f"{self.path} was made with other facts: {field} is {json.dumps(found)} there, "
                f"{json.dumps(asked)} is asked for: choose another --store",
                field=field,
                found=found,
                expected=asked,
            )

    def read(self, *, verify: bool = True) -> Features:
        """Read the features of all readable rows.

        Args:
            verify: whether the values are compared with the checksum taken when they were made.

        Raises:
            StoreIncompleteError: not all chunks are finished.
            StoreCorruptError: a chunk is missing or damaged.
        """
        on_disk = self.on_disk(verify=verify)
        values = np.empty((on_disk.num_rows, on_disk.num_features), on_disk.dtype)  # (N, F)
        on_disk.read_into(values)
        return Features(values, self.readable_rows(), self.fingerprint.rows_digest)

    def on_disk(self, *, verify: bool = True) -> FeatureRows:
        """Return the features of all readable rows without reading them.

        Args:
            verify: whether chunks that are read whole are compared with their checksum.

        Raises:
            StoreIncompleteError: not all chunks are finished.
            StoreCorruptError: the array of the features is missing or damaged.
        """
        if not self.is_complete:
            raise self._incomplete()
        return FeatureRows(self.path, self.header, self.ledger, verify=verify)

    def readable_rows(self) -> pa.Table:
        """Return the rows that have features."""
        if not self.unreadable:
            return self.rows
        readable = np.ones(self.num_rows, dtype=bool)
        readable[list(self.unreadable)] = False
        return self.rows.filter(pa.array(readable))

    def describe(self) -> dict[str, JSON]:
        """Return what `dml info` tells about the store, as plain JSON values."""
        ids = self.rows["id"]
        splits = self.rows["split"].to_pylist() if "split" in self.rows.column_names else []
        return {
            "path": str(self.path),
            "backbone": self.fingerprint.backbone,
            "weights_sha256": self.fingerprint.weights_sha256[:12],
            "pool": self.fingerprint.pool,
            "num_features": self.num_features,
            "dtype": self.fingerprint.dtype,
            "precision": self.fingerprint.precision,
            "transform": dict(self.fingerprint.transform),
            "rows": self.num_rows,
            "classes": len(self.rows["label"].unique()),
            "splits": dict(Counter(splits)),
            "finished_chunks": self.finished_chunks,
            "num_chunks": self.num_chunks,
            "is_complete": self.is_complete,
            "num_unreadable": len(self.unreadable),
            "unreadable": [
                {"id": ids[row].as_py(), "reason": reason}
                for row, reason in islice(self.unreadable.items(), _LISTED)
            ],
            "bytes": _size_on_disk(self.path),
            "versions": dict(self.fingerprint.versions),
            "fingerprint": self.fingerprint.digest(),
        }

    def _incomplete(self) -> StoreIncompleteError:
        return StoreIncompleteError(
            f"{self.path} is not complete: {self.finished_chunks:,} of {self.num_chunks:,} chunks "
            f"({self.ledger.num_rows():,} of {self.num_rows:,} rows) are there: run "
            "`dml extract` again to make the rest"
        )


def _size_on_disk(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # a writer may be at work
                total += os.path.getsize(os.path.join(place, name))
    return total
