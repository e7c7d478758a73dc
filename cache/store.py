"""Reading a feature store."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cache.averaged import AveragedFeatures, check_name
from cache.errors import (
    DamagedChunkError,
    StoreIncompleteError,
    StoreMismatchError,
)
from cache.feature_rows import FeatureRows
from cache.fingerprint import JSON, Fingerprint
from cache.layout import IMAGES, Header
from cache.ledger import Ledger
from cache.places.place import Place, place_of
from cache.rows import BYTES, live_rows, load_rows, removed_rows
from cache.stored import StoredFeatures, read_chunk

_LISTED = 20  # unreadable rows that `describe` names


class Features(NamedTuple):
    """The features of all readable rows.

    Attributes:
        values: (N, F) floats, in the store's order.
        rows: the same N rows as a table of texts.
        manifest: digest of the manifest's ids and file sizes, of readable rows and others.
    """

    values: NDArray[np.floating]
    rows: pa.Table
    manifest: str


class FeatureStore:
    """The features of one manifest, as far as they were finished when the store was opened.

    Attributes:
        place: where it lies.
        path: the same as an absolute path or a URL.
        fingerprint: the facts that made the features.
        root: folder or URL that the paths of the rows are relative to.
        table: table of all rows of the arrays (see `cache.rows`), removed ones too.
        rows: the rows of the manifest: id, path, label and, where given, split, superlabel and
            true_label, all of them texts.
        num_rows: number of rows of the manifest, readable or not.
        features: which features `read` and `on_disk` give.
        feature_names: names of the feature vectors that are stored of each image. Means over views
            can be read, too: `fingerprint.averaged_names`.
        num_features: length F of one feature vector.
        chunk_rows: rows in each chunk; the last chunk may have fewer.
        num_chunks: number of chunks that hold all rows.
        finished_chunks: number of chunks whose features are there.
        is_complete: whether all chunks are finished.
        unreadable: row of `table` -> why it has no feature, ascending; not of removed rows.
        header: the parts of the above that are fixed when a store is made.
        ledger: the finished chunks.
    """

    def __init__(
        self,
        place: Place,
        header: Header,
        table: pa.Table,
        ledger: Ledger,
        *,
        features: str | None = None,
    ) -> None:
        """Take the parts of a store; `open` reads them."""
        self.place = place
        self.path = place.path
        self.fingerprint = header.fingerprint
        self.root = header.root
        self.table = table
        self.feature_names = header.fingerprint.feature_names
        self.features = self._checked(features)
        self.num_features = header.fingerprint.num_features
        self.chunk_rows = header.chunk_rows
        self.num_chunks = header.num_chunks
        self.finished_chunks = self.num_chunks - len(ledger.pending(header))
        self.is_complete = self.finished_chunks == self.num_chunks
        live = live_rows(table)
        self.rows = live.drop_columns(BYTES) if BYTES in live.column_names else live
        self.num_rows = live.num_rows
        removed = removed_rows(table)
        unreadable, gone = ledger.unreadable(), set(removed)
        self.unreadable = {row: why for row, why in unreadable.items() if row not in gone}
        self._gaps = sorted([*removed, *self.unreadable])
        self.header = header
        self.ledger = ledger

    @classmethod
    def open(cls, path: str | Path, features: str | None = None) -> FeatureStore:
        """Read everything but the features.

        Args:
            path: of the store; also a URL.
            features: one of its `feature_names`, or a mean over views; None = the first.

        Raises:
            StoreNotFoundError: there is nothing at this path.
            InputError: there is something else than a store, or it has no such features.
            StoreMismatchError: the store has a newer format than this program knows.
            StoreCorruptError: a file of the store is missing or damaged.
        """
        return cls.at(place_of(path), features)

    @classmethod
    def at(cls, place: Place, features: str | None = None) -> FeatureStore:
        """Do what `open` does, for a place."""
        header = Header.load(place)
        table = load_rows(place, header.num_rows, header.rows)
        return cls(place, header, table, Ledger.load(place, header), features=features)

    def choose(self, features: str | None) -> FeatureStore:
        """Return the same store with other features to read; None = the first.

        Raises:
            InputError: the store has no such features.
        """
        return FeatureStore(self.place, self.header, self.table, self.ledger, features=features)

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
            StoreCorruptError: an array of the features is missing or damaged.
        """
        if not self.is_complete:
            raise self._incomplete()
        parts = [
            StoredFeatures(self.place, self.header, self.ledger, name, verify=verify)
            for name in self.fingerprint.parts_of(self.features)
        ]
        features = AveragedFeatures(parts) if len(parts) > 1 else parts[0]
        return FeatureRows(self.place, self.header, features, self._gaps)

    def readable_rows(self) -> pa.Table:
        """Return the rows that have features."""
        if not self.unreadable:
            return self.rows
        rows = self.table.select(self.rows.column_names)
        return rows.filter(pa.array(self._is_readable()))

    def images(self) -> NDArray[np.uint8] | None:
        """Read the hashes of the image files of the readable rows.

        Returns:
            (N, 40): 32 bytes SHA-256 of the file, 8 bytes difference hash of the picture; None
            where the store has none.

        Raises:
            StoreIncompleteError: not all chunks are finished.
            StoreCorruptError: a chunk is missing or damaged.
        """
        if not self.header.has_images:
            return None
        if not self.is_complete:
            raise self._incomplete()
        chunks = self.ledger.chunks.values()
        parts = [read_chunk(self.place, self.header, chunk, [IMAGES])[IMAGES] for chunk in chunks]
        values: NDArray[np.uint8] = np.concatenate(parts)[self._is_readable()].astype(np.uint8)
        return values

    def verify(
        self, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> list[tuple[int, str]]:
        """Compare every finished chunk, all arrays of it, with its checksum.

        Args:
            progress: is called with (chunks done, finished chunks).

        Returns:
            (chunk number, what is wrong with it, as "is missing") of each damaged chunk, ascending.
        """
        bad: list[tuple[int, str]] = []
        chunks = list(self.ledger.chunks.values())
        for done, chunk in enumerate(chunks, start=1):
            try:
                read_chunk(self.place, self.header, chunk)
            except DamagedChunkError as error:
                bad.append((chunk.number, error.what))
            progress(done, len(chunks))
        return bad

    def content_hash(self) -> str:
        """Return a hex sha256 of the finished rows and values, however they were written.

        It is taken of the checksums in the ledger; `verify` tells whether they still hold.
        """
        digest = hashlib.sha256(self.fingerprint.digest().encode())
        for name in self.table.column_names:
            digest.update(json.dumps([name, self.table[name].to_pylist()]).encode())
        digest.update(self.ledger.content())
        return digest.hexdigest()

    def _is_readable(self) -> NDArray[np.bool_]:
        """Return, for each row of `table`, whether it can be seen and has features."""
        readable = np.ones(self.header.num_rows, dtype=bool)
        readable[self._gaps] = False
        return readable

    def _checked(self, features: str | None) -> str:
        if features is None:
            return self.feature_names[0]
        check_name(self.place, self.fingerprint, features)
        return features

    def describe(self) -> dict[str, JSON]:
        """Return what `dml info` tells about the store, as plain JSON values."""
        ids = self.table["id"]
        splits = self.rows["split"].to_pylist() if "split" in self.rows.column_names else []
        return {
            "path": str(self.path),
            "backbone": self.fingerprint.backbone,
            "weights_sha256": self.fingerprint.weights_sha256[:12],
            "pool": self.fingerprint.pool,
            "features": [*self.feature_names, *self.fingerprint.averaged_names],
            "num_features": self.num_features,
            "dtype": self.fingerprint.dtype,
            "chunk_rows": self.chunk_rows,
            "precision": self.fingerprint.precision,
            "transform": dict(self.fingerprint.transform),
            "augmentation": dict(self.fingerprint.augmentation),
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
            "bytes": self.place.size_on_disk(),
            "versions": dict(self.fingerprint.versions),
            "fingerprint": self.fingerprint.digest(),
        }

    def _incomplete(self) -> StoreIncompleteError:
        return StoreIncompleteError(
            f"{self.path} is not complete: {self.finished_chunks:,} of {self.num_chunks:,} chunks "
            f"({self.ledger.num_rows():,} of {self.header.num_rows:,} rows) are there: run "
            "`dml extract` again to make the rest"
        )
