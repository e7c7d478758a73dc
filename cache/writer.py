"""Making a feature store, chunk by chunk, so that it can be left and taken up at any moment."""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cache.array import FeatureArray, create_array
from cache.durable import sync_folder, sync_tree, writing_to
from cache.errors import InputError
from cache.fingerprint import Fingerprint
from cache.layout import LEDGER, Header
from cache.ledger import FinishedChunk
from cache.lock import lock_for_writing
from cache.rows import checked_rows, count_relabelled, save_rows
from cache.store import FeatureStore

_TAKEN = {errno.EEXIST, errno.ENOTEMPTY}


class StoreWriter:
    """The one writer of a store; a context manager that holds the store's lock.

    Attributes:
        path: absolute path of the store.
        num_chunks: number of chunks that hold all rows.
        pending: numbers of the chunks that still have to be made, ascending.
        relabelled: number of rows whose label, split, superlabel or true label had changed
            since the store was made and are now up to date.
    """

    def __init__(self, store: FeatureStore, *, lock: IO[str]) -> None:
        """Take an open store and its lock; `create_or_resume` does both."""
        self.path = store.path
        self.num_chunks = store.num_chunks
        self.pending = [n for n in range(store.num_chunks) if n not in store.ledger.chunks]
        self.relabelled = 0
        self._dtype = store.fingerprint.dtype
        self._ids = store.rows["id"]
        self._header = store.header
        self._ledger = store.ledger
        self._array = FeatureArray(store.path, store.header, mode="r+")
        self._lock = lock

    @classmethod
    def create_or_resume(
        cls,
        path: str | Path,
        *,
        fingerprint: Fingerprint,
        rows: pa.Table,
        root: str | Path,
        chunk_rows: int = 512,
    ) -> StoreWriter:
        """Make a new store, or take up one that was made with the same facts.

        Labels, splits and the root may have changed since: the features stay, the table of the
        rows is replaced. Once a store is complete, other versions of the libraries do not count.

        Args:
            path: where the store is or shall be.
            fingerprint: the facts that make the features; its `rows_digest` stands for the ids
                and file sizes of `rows`.
            rows: one row per picture: id, path, label, optional split, superlabel, true_label.
            root: folder that the paths are relative to.
            chunk_rows: rows in each chunk; an existing store keeps its own.

        Raises:
            InputError: the rows or chunk_rows cannot be used, there is something else than a
                store at this path, or it cannot be written to.
            StoreMismatchError: the store was made with other facts.
            StoreBusyError: another writer is at work.
            StoreCorruptError: a file of the store is missing or damaged.
            DiskFullError: there is no room.
        """
        path = Path(path).resolve()
        rows = checked_rows(rows)
        if chunk_rows < 1:
            raise InputError(f"chunk_rows is {chunk_rows}, expected at least 1")
        with writing_to(path):
            if _is_free(path):
                _create(path, Header(fingerprint, str(root), rows.num_rows, chunk_rows), rows)
            Header.load(path)  # refuses what is not a store before the lock's file is made in it
            lock = lock_for_writing(path)
            try:
                store = FeatureStore.open(path)
                store.require(fingerprint, any_versions=store.is_complete)
                writer = cls(store, lock=lock)
                writer.relabelled = _update_rows(store, rows, str(root))
                return writer
            except BaseException:
                lock.close()
                raise

    def chunk(self, number: int) -> range:
        """Return the manifest rows of a chunk."""
        return self._header.chunk(number)

    def write(
        self, number: int, values: NDArray[np.floating], unreadable: Mapping[int, str]
    ) -> None:
        """Store a pending chunk; on return it is on the disk, and no longer pending.

        Args:
            number: which chunk.
            values: (rows of the chunk, F) floats; those of unreadable rows do not matter.
            unreadable: manifest row of this chunk -> why there is no feature for it.

        Raises:
            InputError: the chunk is not pending, the shape is wrong, a value is not finite in
                the store's dtype, or an unreadable row is not of this chunk.
            DiskFullError: there is no room; the chunk stays pending.
        """
        if number not in self.pending:
            raise InputError(
                f"chunk {number} is not one of the {len(self.pending)} that are pending"
            )
        stored = self._as_stored(self.chunk(number), values, unreadable)
        finished = FinishedChunk.of(number, stored, unreadable)
        with writing_to(self.path):
            self._array.write(number, stored)
            self._ledger.append(finished)
        self.pending.remove(number)

    def close(self) -> None:
        """Give the lock back; what was written stays."""
        self._lock.close()

    def __enter__(self) -> StoreWriter:
        """Return the writer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the lock back."""
        self.close()

    def _as_stored(
        self, rows: range, values: NDArray[np.floating], unreadable: Mapping[int, str]
    ) -> NDArray[np.floating]:
        expected = (len(rows), self._header.fingerprint.num_features)
        if values.shape != expected:
            raise InputError(f"the chunk's values have shape {values.shape}, expected {expected}")
        if strangers := [row for row in unreadable if row not in rows]:
            raise InputError(f"the unreadable row {strangers[0]} is not in the chunk's {rows}")
        with np.errstate(all="ignore"):  # what does not fit becomes infinite and is refused below
            stored = values.astype(self._dtype)
        left_out = [row - rows.start for row in unreadable]
        stored[left_out] = 0
        finite = np.isfinite(stored).all(axis=1)
        if not finite.all():
            row_id = self._ids[rows.start + int(np.argmin(finite))].as_py()
            raise InputError(
                f"the features of {row_id!r} are not finite numbers in {self._dtype}: try "
                "--dtype float32 with another --store, or leave this picture out"
            )
        stored[left_out] = np.nan
        return stored


def _is_free(path: Path) -> bool:
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def _create(path: Path, header: Header, rows: pa.Table) -> None:
    """Make an empty store beside its place and move it there in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.mkdir()
        header.save(part)
        save_rows(part, rows)
        create_array(part, header)
        (part / LEDGER).touch()
        sync_tree(part)
        part.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        # Another process was faster: its store is the one to take up.
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _update_rows(store: FeatureStore, rows: pa.Table, root: str) -> int:
    """Bring labels, splits and root up to date; return how many rows were relabelled."""
    if not rows["id"].equals(store.rows["id"]):
        raise InputError("the ids of the rows are not those that `rows_digest` was taken of")
    if root != store.root:
        replace(store.header, root=root).save(store.path)
    if not rows.equals(store.rows):
        save_rows(store.path, rows)
    return count_relabelled(store.rows, rows)
