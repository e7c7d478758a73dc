"""Making a feature store, chunk by chunk, so that it can be left and taken up at any moment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cache.array import Array
from cache.errors import InputError, StoreBusyError, UnreachableError
from cache.fingerprint import Fingerprint
from cache.layout import HEADER, LEDGER, Header, usual_chunk_rows
from cache.ledger import FinishedChunk, LedgerWriter
from cache.locks.lock import Lock, lock_for_writing
from cache.places.durable import writing_to
from cache.places.place import Place, place_of
from cache.revision import (
    Changes,
    bring_up_to_date,
    forget_damaged,
    refuse_other_images,
    relabel,
)
from cache.rows import checked_rows, rows_to_bytes
from cache.store import FeatureStore
from cache.stored import ChunkFiles


class StoreWriter:
    """The one writer of a store; a context manager that holds the store's lock.

    Attributes:
        path: of the store, absolute, or its URL.
        num_chunks: number of chunks that hold all rows.
        num_rows: number of rows of all chunks, removed ones too.
        rows: table of all these rows, see `cache.rows`.
        pending: numbers of the chunks that still have to be made, ascending.
        changes: what was brought up to date in a store that was there.
        files: writes chunks without noting them; can be sent to other processes.
        remark: one line on what was unusual about the store's lock, or None.
    """

    def __init__(self, store: FeatureStore, *, lock: Lock, changes: Changes) -> None:
        """Take an open store and its lock; `create_or_resume` does both."""
        header, ledger = store.header, store.ledger
        self.path = store.path
        self.num_chunks = header.num_chunks
        self.num_rows = header.num_rows
        self.rows = store.table
        self.pending = ledger.pending(header)
        self.changes = changes
        grown = {
            number: ledger.chunks[number] for number in self.pending if number in ledger.chunks
        }
        self.files = ChunkFiles(store.place, header, grown)
        self.files.check()
        self._ledger = LedgerWriter(store.place, ledger)
        self._missing = {number: ledger.missing_rows(header, number) for number in self.pending}
        self._header = header
        self._lock = lock
        self.remark = lock.remark

    @classmethod
    def create_or_resume(
        cls,
        path: str | Path,
        *,
        fingerprint: Fingerprint,
        rows: pa.Table,
        root: str | Path,
        chunk_rows: int | None = None,
        images: bool = False,
        update: bool = False,
        repair: bool = False,
    ) -> StoreWriter:
        """Make a new store, or take up one that was made with the same facts.

        Labels, splits and the root may have changed since: the features stay, the table of the
        rows is replaced. Once a store is complete, other versions of the libraries do not count.

        Args:
            path: where the store is or shall be; also a URL.
            fingerprint: the facts that make the features; its `rows_digest` stands for the ids
                and file sizes of `rows`.
            rows: one row per image: id, path, label, optional split, superlabel, true_label and
                bytes, the size of its file.
            root: folder or URL that the paths are relative to.
            chunk_rows: rows in each chunk, None = `usual_chunk_rows`; an existing store keeps its
                own.
            images: whether a new store gets hashes of the image files.
            update: whether an existing store may have other images: new and changed ones become
                pending, those that are not in `rows` are removed.
            repair: whether finished chunks are checked; damaged ones become pending again.

        Raises:
            InputError: the rows or chunk_rows cannot be used, there is something else than a
                store at this path, or it cannot be written to.
            StoreMismatchError: the store was made with other facts.
            StoreBusyError: another writer is at work.
            StoreCorruptError: a file of the store is missing or damaged.
            DiskFullError: there is no room.
        """
        place = place_of(path)
        rows = checked_rows(rows)
        if chunk_rows is None:
            chunk_rows = usual_chunk_rows(rows.num_rows)
        if chunk_rows < 1:
            raise InputError(f"chunk_rows is {chunk_rows}, expected at least 1")
        with writing_to(place):
            if place.is_free():
                header = Header(fingerprint, str(root), rows.num_rows, chunk_rows, images)
                place.create(_first_files(place, header, rows))
            Header.load(place)  # refuses what is not a store before the lock's file is made in it
            lock = lock_for_writing(place)
            try:
                store, changes = FeatureStore.at(place), Changes()
                if update:
                    store, changes = bring_up_to_date(store, fingerprint, rows)
                refuse_other_images(store, fingerprint, rows)
                store.require(fingerprint, any_versions=store.is_complete)
                changes = changes._replace(
                    relabelled=relabel(store, rows, str(root)),
                    damaged=forget_damaged(store) if repair else 0,
                )
                return cls(FeatureStore.at(place), lock=lock, changes=changes)
            except BaseException:
                lock.close()
                raise

    def chunk(self, number: int) -> range:
        """Return the rows of a pending chunk that are still to be made."""
        return self._missing[number]

    def write(
        self,
        number: int,
        values: NDArray[np.floating],
        unreadable: Mapping[int, str],
        images: NDArray[np.uint8] | None = None,
    ) -> None:
        """Store a pending chunk; on return it is durable, and no longer pending.

        Args:
            number: which chunk.
            values: (n, F) or (n, A, F) floats for the n rows that were missing; see `ChunkFiles`.
            unreadable: row -> why there is no feature for it.
            images: (n, 40) hashes of the image files, if the store has them.

        Raises:
            InputError: the chunk is not pending, the shape is wrong, a value is not finite in
                the store's dtype, or an unreadable row is not of this chunk.
            DiskFullError: there is no room; the chunk stays pending.
        """
        self._refuse_unless_pending(number)
        self._lock.check()
        self.note(self.files.write(number, values, unreadable, images))

    def note(self, chunk: FinishedChunk) -> None:
        """Enter a pending chunk, which `files` has written, into the ledger."""
        self._refuse_unless_pending(chunk.number)
        self._lock.check()
        with writing_to(self.files.store):
            self._ledger.append(chunk)
        self.pending.remove(chunk.number)

    def close(self) -> None:
        """Give the lock back; what was written stays."""
        try:
            self._lock.check()  # another holder's ledger is not ours to join
            self._ledger.close()
        finally:
            self._lock.close()

    def __enter__(self) -> StoreWriter:
        """Return the writer itself."""
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Give the lock back."""
        if isinstance(error, UnreachableError | StoreBusyError):  # no use in trying to write more
            self._lock.close()
        else:
            self.close()

    def _refuse_unless_pending(self, number: int) -> None:
        if number not in self.pending:
            raise InputError(
                f"chunk {number} is not one of the {len(self.pending)} that are pending"
            )


def _first_files(place: Place, header: Header, rows: pa.Table) -> dict[str, bytes]:
    """Return the files of a store without chunks; the header comes last and makes it one."""
    files: dict[str, bytes] = {}
    for spec in header.arrays:
        files |= Array(place, spec, header).metadata()
    return files | {header.rows: rows_to_bytes(rows), LEDGER: b"", HEADER: header.to_bytes()}
