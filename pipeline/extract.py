"""Stage one: every picture of a manifest through a frozen backbone into a feature store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cache.errors import InputError
from cache.fingerprint import Fingerprint, rows_digest
from cache.store import FeatureStore
from cache.writer import StoreWriter
from pipeline.backbones._backbone import Backbone
from pipeline.datasets.manifest import Manifest
from pipeline.extraction import containers
from pipeline.extraction.embed import embed_files, pick_device, precision_of
from pipeline.extraction.overlap import Batch

_LIBRARIES = ("dml", "pillow", "timm", "torch", "torchvision")
# Like another version of a library it changes the last bits of the features. So a store that was
# begun without it cannot be gone on with, and one that is complete can be used.
_ROUNDING = {"batch_norm": "folded"}


@dataclass(frozen=True, kw_only=True)
class ExtractReport:
    """What an extraction did.

    Attributes:
        store: where the features are.
        rows: number of rows of the manifest.
        readable: number of rows that have features.
        unreadable: id -> why it has no features, in manifest order.
        num_features: length F of one feature vector.
        seconds: duration of this call.
        images_per_second: images of this call by its duration; 0 if there was nothing to do.
        resumed_chunks: chunks that were there before this call.
        already_complete: whether all of them were.
        relabelled: rows of an existing store whose labels or splits were brought up to date.
        device: "cpu", "cuda" or "mps".
        precision: number format of the network's arithmetic.
        remarks: what was done in another way than usual, and why; one line each.
    """

    store: Path
    rows: int
    readable: int
    unreadable: Mapping[str, str]
    num_features: int
    seconds: float
    images_per_second: float
    resumed_chunks: int
    already_complete: bool
    relabelled: int
    device: str
    precision: str
    remarks: tuple[str, ...]


def extract(
    manifest: Manifest,
    store: Path,
    backbone: Backbone,
    *,
    dtype: str = "float16",
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ExtractReport:
    """Fill a feature store, or what is still missing in it.

    What is finished stays if this is interrupted: call it again to go on. The features are the
    same bit for bit.

    Args:
        manifest: the images.
        store: path of a new store, or of one that was made with the same facts.
        backbone: the network; it is moved to the device.
        dtype: number format of the stored features, "float16" or "float32".
        batch_size: images that are in the network at the same time, on a CPU for each thread;
            None is 8 there and 64 elsewhere. Another size may round the features otherwise.
        workers: threads that decode (on a CPU each runs the network, too, on one core); None is
            one for each core, at most 16 if they only decode.
        device: "auto" (cuda, else mps, else cpu), "cpu", "cuda" or "mps".
        progress: is called with the rows done and all rows, also once at the start.

    Raises:
        InputError: an argument does not fit, or not one image can be read.
        StoreMismatchError: the store was made with other facts.
        StoreBusyError: another process writes to the store.
        StoreCorruptError: the store is damaged.
        DiskFullError: there is no room; what is finished stays.
    """
    started = time.perf_counter()
    remarks: list[str] = []
    _check(batch_size=batch_size, workers=workers)
    chosen = pick_device(device)
    precision = precision_of(chosen)
    fingerprint = Fingerprint(
        backbone=backbone.name,
        weights_sha256=backbone.weights_sha256,
        transform=backbone.transform.to_json(),
        pool=backbone.pool,
        dtype=dtype,
        num_features=backbone.num_features,
        precision=precision,
        rows_digest=rows_digest(
            manifest.ids, (containers.size_of(manifest.root / path) for path in manifest.paths)
        ),
        versions={library: version(library) for library in _LIBRARIES} | _ROUNDING,
    )
    with StoreWriter.create_or_resume(
        store, fingerprint=fingerprint, rows=_table(manifest), root=manifest.root
    ) as writer:
        relabelled = writer.relabelled
        pending = [(number, writer.chunk(number)) for number in writer.pending]
        resumed = writer.num_chunks - len(pending)
        batches = embed_files(
            backbone,
            manifest.paths,
            [rows for _, rows in pending],
            root=manifest.root,
            device=chosen,
            precision=precision,
            # A batch never crosses a chunk, so a larger one would hold nothing but padding.
            batch_size=batch_size and min(batch_size, len(writer.chunk(0))),
            workers=workers,
            remark=remarks.append,
        )
        with closing(batches):
            _write(writer, pending, batches, dtype=dtype, total=len(manifest), progress=progress)
    unreadable = _unreadable(manifest, writer.path)
    seconds = time.perf_counter() - started
    remaining = sum(len(rows) for _, rows in pending)
    return ExtractReport(
        store=writer.path,
        rows=len(manifest),
        readable=len(manifest) - len(unreadable),
        unreadable=unreadable,
        num_features=backbone.num_features,
        seconds=seconds,
        images_per_second=remaining / seconds,
        resumed_chunks=resumed,
        already_complete=not pending,
        relabelled=relabelled,
        device=chosen.type,
        precision=precision,
        remarks=tuple(remarks),
    )


def _check(*, batch_size: int | None, workers: int | None) -> None:
    for name, value in {"batch size": batch_size, "number of workers": workers}.items():
        if value is not None and value < 1:
            raise InputError(f"the {name} is {value}, expected at least 1")


def _table(manifest: Manifest) -> pa.Table:
    columns = {
        "id": manifest.ids,
        "path": manifest.paths,
        "label": manifest.labels,
        "split": manifest.splits,
        "superlabel": manifest.superlabels,
        "true_label": manifest.true_labels,
    }
    return pa.table({name: pa.array(column) for name, column in columns.items() if column})


def _write(
    writer: StoreWriter,
    pending: Sequence[tuple[int, range]],
    batches: Iterator[Batch],
    *,
    dtype: str,
    total: int,
    progress: Callable[[int, int], None],
) -> None:
    """Collect the batches of each chunk and write it as soon as it is whole."""
    done = total - sum(len(rows) for _, rows in pending)
    progress(done, total)
    for number, rows in pending:
        values: list[NDArray[np.floating]] = []
        unreadable: dict[int, str] = {}
        while sum(map(len, values)) < len(rows):
            batch = next(batches)
            stored, not_finite = _as_stored(batch, dtype)
            values.append(stored)
            unreadable |= not_finite | batch.unreadable
            done += len(batch.files)
            progress(done, total)
        writer.write(number, np.concatenate(values), unreadable)


def _as_stored(batch: Batch, dtype: str) -> tuple[NDArray[np.floating], dict[int, str]]:
    """Return the features (B, F) in the store's dtype, and why some rows cannot be stored."""
    with np.errstate(over="ignore"):
        stored = batch.values.astype(dtype)
    bad = np.flatnonzero(~np.isfinite(stored).all(axis=1))
    reasons = {
        batch.files[place]: f"features too large for {dtype}: try --dtype float32"
        if np.isfinite(batch.values[place]).all()
        else "features are not finite numbers"
        for place in bad
    }
    return stored, reasons


def _unreadable(manifest: Manifest, store: Path) -> dict[str, str]:
    """Return id -> reason; raises InputError if that is all of them."""
    unreadable = FeatureStore.open(store).unreadable
    reasons = {manifest.ids[row]: reason for row, reason in unreadable.items()}
    if len(reasons) == len(manifest):
        first, reason = next(iter(reasons.items()))
        raise InputError(
            f"none of the {len(reasons)} images can be used, for example {first}: {reason}: mend "
            f"them, delete {store} and try again"
        )
    return reasons
