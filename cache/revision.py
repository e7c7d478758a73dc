"""Changes of a store: other labels, other images, rows taken out, damaged chunks forgotten.

Each is one step for readers: they see the store as it was or as it became. Whoever calls the
functions that take an open store has its lock.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from cache.errors import InputError, StoreMismatchError
from cache.fingerprint import Fingerprint
from cache.fingerprint import rows_digest as digest_of
from cache.layout import HEADER, Header
from cache.ledger import FinishedChunk, LedgerWriter
from cache.locks.lock import lock_for_writing
from cache.places.durable import writing_to
from cache.places.place import Place, place_of
from cache.rows import BYTES, REMOVED, count_relabelled, live_rows, rows_to_bytes
from cache.store import FeatureStore

_ORDER = "they stand in another order, or their files have changed"


class Changes(NamedTuple):
    """What was changed in a store that was there before.

    Attributes:
        relabelled: rows whose label, split, superlabel or true label is another one now.
        added: images that the store did not have, or whose file has changed.
        removed: rows that were taken out: no longer asked for, or of files that have changed.
        damaged: chunks that are made anew.
    """

    relabelled: int = 0
    added: int = 0
    removed: int = 0
    damaged: int = 0


def relabel(store: FeatureStore, rows: pa.Table, root: str) -> int:
    """Give the rows of a store the labels, splits and root of an equal list of images.

    Returns:
        How many rows were relabelled.
    """
    if root != store.root:
        store.place.write(HEADER, replace(store.header, root=root).to_bytes())
    table, _ = _merged(store.table, rows)
    if table.num_rows != store.table.num_rows:
        raise InputError("the ids of the rows are not those that `rows_digest` was taken of")
    if not table.equals(store.table):
        store.place.write(store.header.rows, rows_to_bytes(table))
    return count_relabelled(store.rows, live_rows(table))


def bring_up_to_date(
    store: FeatureStore, fingerprint: Fingerprint, rows: pa.Table
) -> tuple[FeatureStore, Changes]:
    """Give a store another list of images; what it has of them already stays.

    An image is known again by its id and the size of its file. New rows come after the old ones;
    rows that are not asked for any more are marked, and nobody sees them again. Their values stay
    in the files until the store is exported to a new one.

    Raises:
        StoreMismatchError: the store was made with other facts than these.
        InputError: the store does not know the sizes of its files.
    """
    if store.fingerprint.rows_digest == fingerprint.rows_digest:
        return store, Changes()
    same_rows = replace(fingerprint, rows_digest=store.fingerprint.rows_digest)
    store.require(same_rows, any_versions=True)
    if BYTES not in store.table.column_names:
        raise InputError(
            f"{store.place} does not know the sizes of its image files: run `dml extract` once "
            "with the list of images that it was made with, then with the new one"
        )
    table, removed = _merged(store.table, rows)
    added = table.num_rows - store.table.num_rows
    if added:  # else nothing is computed, and the versions do not count
        store.require(same_rows)
    _commit(store, table, fingerprint.rows_digest)
    return FeatureStore.at(store.place), Changes(added=added, removed=removed)


def refuse_other_images(store: FeatureStore, fingerprint: Fingerprint, rows: pa.Table) -> None:
    """Refuse a store that would fit if it had other images, and say how many.

    Raises:
        StoreMismatchError: only the list of images differs.
    """
    differences = store.fingerprint.differences(fingerprint)
    if not differences or differences[0][0] != "rows_digest":
        return
    _, found, expected = differences[0]
    table, gone = _merged(store.table, rows)
    added = table.num_rows - store.table.num_rows
    what = (
        f"{added:,} are new or changed, {gone:,} are gone or changed" if added or gone else _ORDER
    )
    raise StoreMismatchError(
        f"{store.place} was made of other images (rows_digest): {what}: run the same "
        "command with --update to bring it up to date, or choose another --store",
        field="rows_digest",
        found=found,
        expected=expected,
    )


def remove_rows(path: str | Path, ids: Sequence[str]) -> FeatureStore:
    """Take rows out of a store: nobody sees them again.

    Their values stay in the files until the store is exported to a new one.

    Args:
        path: of the store; also a URL.
        ids: of the rows.

    Returns:
        The store as it is then.

    Raises:
        StoreNotFoundError: there is no store.
        InputError: the store has no row of such an id, or none would be left.
        StoreBusyError: another process writes to it.
        DiskFullError: there is no room; nothing was removed.
    """
    place = place_of(path)
    Header.load(place)  # before the lock's file is made in what is no store
    with writing_to(place), closing(lock_for_writing(place)):
        _remove(FeatureStore.at(place), ids)
    return FeatureStore.at(place)


def _remove(store: FeatureStore, ids: Sequence[str]) -> None:
    unwanted, known = set(ids), store.rows["id"].to_pylist()
    if strangers := sorted(unwanted.difference(known)):
        raise InputError(f"{store.place} has no row {strangers[0]!r}: nothing was removed")
    if len(unwanted) == len(known):
        raise InputError(f"no row of {store.place} would be left: delete the store instead")
    gone = [
        is_removed or row_id in unwanted
        for row_id, is_removed in zip(
            store.table["id"].to_pylist(), _removed(store.table), strict=True
        )
    ]
    table = _with_removed(store.table, gone)
    live = live_rows(table)
    sizes = live[BYTES].to_pylist() if BYTES in live.column_names else [-1] * live.num_rows
    _commit(store, table, digest_of(live["id"].to_pylist(), sizes))


def forget_damaged(store: FeatureStore) -> int:
    """Take chunks whose checksum does not hold back from the ledger; return how many."""
    damaged = store.verify()
    ledger = LedgerWriter(store.place, store.ledger)
    for number, _ in damaged:
        ledger.append(FinishedChunk.forgotten(number))
    ledger.close()
    return len(damaged)


def _merged(table: pa.Table, rows: pa.Table) -> tuple[pa.Table, int]:
    """Bring a store's table to a new list of images.

    Returns:
        The table with the columns of `rows`: old rows in their places, marked where they are not
        in `rows` (or there with another size), then the new ones; and how many were newly marked.
    """
    new = {name: rows[name].to_pylist() for name in rows.column_names}
    old = {name: table[name].to_pylist() for name in table.column_names}
    was_removed = _removed(table)
    at = {row_id: place for place, row_id in enumerate(new["id"])}
    known_again: list[int | None] = [
        None if is_gone or not _is_same(old, row, new, at.get(row_id)) else at[row_id]
        for row, (row_id, is_gone) in enumerate(zip(old["id"], was_removed, strict=True))
    ]
    kept = set(known_again)
    added = [place for place in range(rows.num_rows) if place not in kept]
    columns = {}
    for name, cells in new.items():
        before = old.get(name, [None] * table.num_rows)
        columns[name] = [
            before[row] if place is None else cells[place] for row, place in enumerate(known_again)
        ] + [cells[place] for place in added]
    gone = [place is None for place in known_again] + [False] * len(added)
    merged = pa.table(columns, schema=rows.schema)
    return _with_removed(merged, gone), sum(gone) - sum(was_removed)


def _is_same(
    old: dict[str, list[object]], row: int, new: dict[str, list[object]], place: int | None
) -> bool:
    if place is None:
        return False
    has_sizes = BYTES in old and BYTES in new
    return not has_sizes or old[BYTES][row] == new[BYTES][place]


def _removed(table: pa.Table) -> list[bool]:
    if REMOVED not in table.column_names:
        return [False] * table.num_rows
    return [bool(is_removed) for is_removed in table[REMOVED].to_pylist()]


def _with_removed(table: pa.Table, removed: list[bool]) -> pa.Table:
    if REMOVED in table.column_names:
        table = table.drop_columns(REMOVED)
    return table.append_column(REMOVED, pa.array(removed)) if any(removed) else table


def _commit(store: FeatureStore, table: pa.Table, rows_digest: str) -> None:
    """Put another table in the place of the store's; the new header makes it count."""
    place, header = store.place, store.header
    changed = replace(
        header,
        fingerprint=replace(header.fingerprint, rows_digest=rows_digest),
        num_rows=table.num_rows,
        rows=_next_name(place),
    )
    if table.num_rows > header.num_rows:
        _lengthen(place, changed)
    place.write(changed.rows, rows_to_bytes(table))
    place.write(HEADER, changed.to_bytes())
    for name in _row_tables(place):
        if name not in (changed.rows, header.rows):  # a reader may just have read the old header
            place.remove(name)


def _lengthen(place: Place, header: Header) -> None:
    """Tell other readers of Zarr how long the arrays are."""
    for spec in header.arrays:
        name = f"{spec.name}/zarr.json"
        facts = json.loads(place.read(name))
        facts["shape"][0] = header.num_rows
        place.write(name, json.dumps(facts, indent=2).encode())


def _row_tables(place: Place) -> list[str]:
    names = place.names("")
    return [name for name in names if name.startswith("rows") and name.endswith(".parquet")]


def _next_name(place: Place) -> str:
    taken = set(_row_tables(place))
    number = 2
    while f"rows-{number}.parquet" in taken:
        number += 1
    return f"rows-{number}.parquet"
