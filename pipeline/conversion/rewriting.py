"""A store written anew at another place, on this machine or at a URL: compact, and the same.

Removed rows are not copied. All else is taken as it is stored, no value is rounded again: every
pool and view, hashes of images, rows that have no features and why, label overlays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cache.array import Array
from cache.errors import InputError
from cache.formats import Block, regrouped
from cache.layout import ArraySpec
from cache.ledger import FinishedChunk
from cache.places.durable import writing_to
from cache.places.place import Place, place_of
from cache.places.urls import Location
from cache.rows import live_rows, removed_rows
from cache.store import FeatureStore
from cache.stored import read_chunk
from cache.writer import StoreWriter

OVERLAYS = "overlays"


def check_place(target: Location) -> None:
    """Refuse a place that no store can be rewritten to; an unfinished one is gone on with.

    Raises:
        InputError: there is a finished store, or something else.
    """
    place = place_of(target)
    if not place.is_free() and FeatureStore.at(place).is_complete:
        raise InputError(f"{place} is a finished store: delete it first, or choose another name")


def rewrite(
    store: FeatureStore,
    target: Location,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Location:
    """Write a store anew; what is finished stays if this is interrupted.

    Args:
        store: a complete store.
        target: where to; a path or URL.
        progress: is called with (rows done, rows).

    Returns:
        Where the new store is.

    Raises:
        InputError: `check_place` refuses the target.
        StoreIncompleteError: the store is not complete.
        StoreCorruptError: a chunk of it is missing or damaged.
        StoreMismatchError: an unfinished store at the target is of other features.
        DiskFullError: there is no room; what is finished stays.
    """
    check_place(target)
    store.on_disk()  # tells if it is not complete
    with StoreWriter.create_or_resume(
        target,
        fingerprint=store.fingerprint,
        rows=live_rows(store.table),
        root=store.root,
        chunk_rows=store.chunk_rows,
        images=store.header.has_images,
    ) as writer:
        numbers = list(writer.pending)
        chunks = [writer.chunk(number) for number in numbers]
        blocks = regrouped(_live_blocks(store, chunks[0].start), chunks)
        unreadable = _unreadable(store)
        _copy_overlays(store.place, writer.files.store)
        for number, rows, block in zip(numbers, chunks, blocks, strict=True):
            bad = {row: unreadable[row] for row in rows if row in unreadable}
            writer.note(_write(writer, number, block, bad))
            progress(rows.stop, store.num_rows)
        return writer.path


def _live_blocks(store: FeatureStore, start: int) -> Iterator[Block]:
    """Read the rows that were not removed, from the `start`-th of them on, as bytes (n, width)."""
    is_live, row = _is_live(store), 0
    for chunk in store.ledger.chunks.values():
        rows = store.header.chunk(chunk.number)
        kept = is_live[rows.start : rows.stop]
        count = int(kept.sum())
        if count and row + count > start:
            arrays = read_chunk(store.place, store.header, chunk)
            yield _packed(arrays)[kept][max(start - row, 0) :]
        row += count


def _packed(arrays: Mapping[str, NDArray[np.generic]]) -> Block:
    """Put the arrays (n, width) of a chunk beside each other, as bytes."""
    parts = [np.ascontiguousarray(values).view(np.uint8) for values in arrays.values()]
    return np.concatenate(parts, axis=1)


def _unpacked(block: Block, specs: Sequence[ArraySpec]) -> dict[str, NDArray[np.generic]]:
    """Undo `_packed`."""
    widths = [spec.width * np.dtype(spec.dtype).itemsize for spec in specs]
    parts = np.split(block, np.cumsum(widths)[:-1], axis=1)
    return {
        spec.name: np.ascontiguousarray(part).view(spec.dtype)
        for spec, part in zip(specs, parts, strict=True)
    }


def _write(
    writer: StoreWriter, number: int, block: Block, unreadable: Mapping[int, str]
) -> FinishedChunk:
    """Write a chunk as it is stored; on return it is durable."""
    place, header = writer.files.store, writer.files.header
    stored = _unpacked(block, header.arrays)
    with writing_to(place):
        for spec in header.arrays:
            Array(place, spec, header).write(number, stored[spec.name])
    return FinishedChunk.of(number, stored, unreadable)


def _is_live(store: FeatureStore) -> NDArray[np.bool_]:
    is_live = np.ones(store.header.num_rows, dtype=bool)
    is_live[removed_rows(store.table)] = False
    return is_live


def _unreadable(store: FeatureStore) -> dict[int, str]:
    """Number the rows without features as in the new store."""
    numbers = np.cumsum(_is_live(store)) - 1
    return {int(numbers[row]): why for row, why in store.unreadable.items()}


def _copy_overlays(source: Place, target: Place) -> None:
    for name in source.names(OVERLAYS):
        target.write(f"{OVERLAYS}/{name}", source.read(f"{OVERLAYS}/{name}"))
