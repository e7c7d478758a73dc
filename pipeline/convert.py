"""Features of other programs into a store, and those of a store into files that others read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from cache.fingerprint import Fingerprint, rows_digest
from cache.formats import Block, Content, Form, check_target, open_file, regrouped, write_file
from cache.places.urls import Location
from cache.rows import BYTES, live_rows
from cache.store import FeatureStore
from cache.writer import StoreWriter
from pipeline.conversion.columns import EXPORTED, Names
from pipeline.conversion.identity import Claim, Digest, of_export
from pipeline.conversion.overlays import save_overlays
from pipeline.conversion.plan import Plan, plan_import
from pipeline.conversion.rewriting import rewrite

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import did.

    Attributes:
        store: path or URL of the store.
        file: what was read.
        rows: number of rows.
        unreadable: id -> why it has no features.
        fingerprint: of the store.
        resumed_chunks: chunks that were there before this call.
        already_complete: whether all of them were.
        relabelled: rows of an existing store whose labels or splits were brought up to date.
        overlays: label overlay of each further label column.
        seconds: duration.
        remarks: what a user should know, a line each.
    """

    store: str
    file: Path
    rows: int
    unreadable: Mapping[str, str]
    fingerprint: Fingerprint
    resumed_chunks: int
    already_complete: bool
    relabelled: int
    overlays: Mapping[str, Path]
    seconds: float
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What an export did.

    Attributes:
        store: path or URL of the store.
        files: path or URL of what was asked for, and of others that it needs beside it.
        rows: number of rows in it.
        left_out: rows that have no features; where a store was rewritten, those that were removed.
        num_features: length F of one feature vector.
        dtype: number format in the file.
        columns: names of the other arrays.
        seconds: duration.
    """

    store: str
    files: tuple[Location, ...]
    rows: int
    left_out: int
    num_features: int
    dtype: str
    columns: tuple[str, ...]
    seconds: float


def import_features(
    file: Path,
    store: str | Path,
    *,
    overlays: Path,
    names: Names | None = None,
    labels: Path | None = None,
    ids_from_rows: bool = False,
    dtype: str | None = None,
    skip_nonfinite: bool = False,
    progress: Progress = lambda done, total: None,
) -> ImportReport:
    """Fill a store with the features of a file, or what is still missing in it.

    The file is read twice, in blocks: nothing is written before all of it was looked at. What is
    finished stays if this is interrupted: call it again to go on.

    Args:
        file: see `cache.formats` for its kinds.
        store: path or URL of a new store, or of one that was made from the same features.
        overlays: folder for further labels, which become a label overlay each.
        names: of the arrays in it; None = the usual ones.
        labels: a table with the labels, and ids unless the file has them.
        ids_from_rows: whether ids are row numbers.
        dtype: number format in the store; None = that of the file, but float32 for float64.
        skip_nonfinite: whether rows with NaN or infinity are left out and not refused.
        progress: is called with (rows read, twice the number of rows).

    Raises:
        InputError: the file or an argument cannot be used.
        StoreMismatchError: the store was made with other facts.
        StoreBusyError: another process writes to the store.
        StoreCorruptError: the store is damaged.
        DiskFullError: there is no room; what is finished stays.
    """
    started = time.perf_counter()
    with ExitStack() as opened:
        source = opened.enter_context(open_file(file))
        table = opened.enter_context(open_file(labels)) if labels else None
        plan = plan_import(
            source,
            table,
            names or Names(),
            ids_from_rows=ids_from_rows,
            dtype=dtype,
            skip_nonfinite=skip_nonfinite,
            progress=progress,
        )
        with StoreWriter.create_or_resume(
            store, fingerprint=plan.fingerprint, rows=plan.table(), root=plan.root
        ) as writer:
            pending = len(writer.pending)
            _fill(writer, plan, progress)
    ids, path = plan.columns.rows["id"], writer.path
    return ImportReport(
        store=str(path),
        file=file,
        rows=len(ids),
        unreadable={ids[row]: why for row, why in plan.seen.not_finite.items()},
        fingerprint=plan.fingerprint,
        resumed_chunks=writer.num_chunks - pending,
        already_complete=not pending,
        relabelled=writer.changes.relabelled,
        overlays=save_overlays(
            overlays,
            plan.columns.others,
            plan.columns.rows,
            manifest=plan.fingerprint.rows_digest,
            features=f"{plan.fingerprint.backbone} {plan.fingerprint.weights_sha256[:12]}",
            source=(labels or file).name,
        ),
        seconds=time.perf_counter() - started,
        remarks=plan.remarks,
    )


def rewrite_store(
    store: FeatureStore,
    target: Location,
    *,
    progress: Progress = lambda done, total: None,
) -> ExportReport:
    """Write a store anew at another place, without its removed rows; see `rewrite`."""
    started = time.perf_counter()
    path = rewrite(store, target, progress=progress)
    return ExportReport(
        store=str(store.path),
        files=(path,),
        rows=store.num_rows,
        left_out=store.header.num_rows - store.num_rows,
        num_features=store.num_features,
        dtype=store.fingerprint.dtype,
        columns=tuple(store.rows.column_names),
        seconds=time.perf_counter() - started,
    )


def export_features(
    store: FeatureStore,
    file: Path,
    *,
    is_forced: bool = False,
    progress: Progress = lambda done, total: None,
) -> ExportReport:
    """Write the features that a store was opened for, with ids, paths and labels, into a file.

    Rows without features are left out. The file holds the fingerprint, and `import_features` gives
    the same store back.

    Args:
        store: a complete store.
        file: its suffix decides the format, see `cache.formats`.
        is_forced: whether a file that is there is replaced.
        progress: is called with (rows written, rows).

    Raises:
        InputError: the file is there already, of an unknown kind, or cannot be written.
        StoreIncompleteError: the extraction has not finished.
        StoreCorruptError: a chunk is missing or damaged.
        DiskFullError: there is no room; nothing is left behind.
    """
    started = time.perf_counter()
    check_target(file, is_forced=is_forced)
    on_disk = store.on_disk()
    shape = (on_disk.num_rows, on_disk.num_features)
    rows = _readable(store)
    digest = Digest(Form.of(shape, on_disk.dtype))
    claim = Claim(_exported_fingerprint(store, rows), store.root, "")
    content = Content(
        shape=shape,
        dtype=on_disk.dtype,
        blocks=_noted((values for _, values in on_disk.chunks()), digest, shape[0], progress),
        columns={EXPORTED.get(name, name): cells for name, cells in rows.items()},
        facts=lambda: claim._replace(sha256=digest.with_ids(rows["id"])).to_json(),
    )
    files = write_file(file, content, is_forced=is_forced)
    return ExportReport(
        store=str(store.path),
        files=files,
        rows=shape[0],
        left_out=store.num_rows - shape[0],
        num_features=shape[1],
        dtype=str(on_disk.dtype),
        columns=tuple(content.columns),
        seconds=time.perf_counter() - started,
    )


def _fill(writer: StoreWriter, plan: Plan, progress: Progress) -> None:
    """Write the pending chunks; what comes before the first is not read."""
    if not writer.pending:
        return
    numbers = list(writer.pending)
    chunks = [writer.chunk(number) for number in numbers]
    total = plan.source.arrays[plan.features].shape[0]
    blocks = regrouped(plan.source.blocks(plan.features, chunks[0].start), chunks)
    for number, rows, values in zip(numbers, chunks, blocks, strict=True):
        bad = plan.seen.not_finite
        writer.write(number, values, {row: bad[row] for row in rows if row in bad} if bad else {})
        progress(total + rows.stop, 2 * total)


def _readable(store: FeatureStore) -> dict[str, list[str]]:
    """Return the columns of the rows that have features, all as texts."""
    rows = store.readable_rows()
    columns: dict[str, list[str]] = {name: rows[name].to_pylist() for name in rows.column_names}
    live = live_rows(store.table)
    if BYTES in live.column_names:
        sizes = dict(zip(live["id"].to_pylist(), live[BYTES].to_pylist(), strict=True))
        columns[BYTES] = [str(sizes[row_id]) for row_id in columns["id"]]
    return columns


def _exported_fingerprint(store: FeatureStore, rows: Mapping[str, Sequence[str]]) -> Fingerprint:
    """Return the fingerprint; without its unreadable rows it is another list of images."""
    fingerprint = of_export(store.fingerprint, store.features)
    if len(rows["id"]) == store.num_rows:
        return fingerprint
    sizes = map(int, rows[BYTES]) if BYTES in rows else [-1] * len(rows["id"])
    return replace(fingerprint, rows_digest=rows_digest(rows["id"], sizes))


def _noted(
    blocks: Iterator[Block], digest: Digest, total: int, progress: Progress
) -> Iterator[Block]:
    """Take the digest of blocks on their way into a file."""
    done = 0
    for block in blocks:
        digest.add(block)
        done += len(block)
        progress(done, total)
        yield block
