"""Stage one: every picture of a manifest through a frozen backbone into a feature store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa

from cache.errors import InputError
from cache.fingerprint import Fingerprint, rows_digest
from cache.places.urls import Location
from cache.revision import Changes
from cache.store import FeatureStore
from cache.writer import StoreWriter
from pipeline.backbones._backbone import Backbone
from pipeline.datasets.manifest import Manifest
from pipeline.datasets.sizes import file_sizes
from pipeline.extraction.job import REVISION, Job
from pipeline.extraction.machines import Machines, machines
from pipeline.extraction.pictures.views import Augmentation

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
        changes: what was brought up to date in a store that was there.
        device: "cpu", "cuda" or "mps".
        precision: number format of the network's arithmetic.
        remarks: what was done in another way than usual, and why; one line each.
    """

    store: Location
    rows: int
    readable: int
    unreadable: Mapping[str, str]
    num_features: int
    seconds: float
    images_per_second: float
    resumed_chunks: int
    already_complete: bool
    changes: Changes
    device: str
    precision: str
    remarks: tuple[str, ...]


def extract(
    manifest: Manifest,
    store: str | Path,
    backbone: Backbone,
    *,
    dtype: str = "float16",
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    engine: str = "local",
    ray_address: str | None = None,
    augmentation: Augmentation | None = None,
    unreadable: str = "skip",
    chunk_rows: int | None = None,
    update: bool = False,
    repair: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ExtractReport:
    """Fill a feature store, or what is still missing in it.

    What is finished stays if this is interrupted: call it again to go on. The features are the
    same bit for bit.

    Args:
        manifest: the images.
        store: path or URL of a new store, or of one that was made with the same facts.
        backbone: the network; it is moved to the device.
        dtype: number format of the stored features, one of `cache.fingerprint.FEATURE_DTYPES`.
        batch_size: images that are in the network at the same time, on a CPU for each thread;
            None is 8 there and 64 elsewhere. Another size may round the features otherwise.
        workers: threads that decode (on a CPU each runs the network, too, on one core); None is
            one for each core, at most 16 if they only decode. With Ray they are its workers, each
            on one core or one GPU; None is as many as the cluster has room for.
        device: "auto" (cuda, else mps, else cpu), "cpu", "cuda" or "mps".
        engine: "local", or "ray" for the machines of a cluster; see
            `pipeline.extraction.cluster.connection`.
        ray_address: "auto" or "HOST:PORT" joins a Ray cluster; None starts Ray on this machine.
        augmentation: further views of each picture, whose features are stored, too.
        unreadable: "skip" lists images that cannot be read and leaves them out, "stop" ends at
            the first one.
        chunk_rows: rows of each chunk of a new store; None is a usual number.
        update: whether an existing store may have other images: new and changed ones are added,
            those that are not in the manifest removed.
        repair: whether finished chunks are checked first, and damaged ones made anew.
        progress: is called with the rows done and all rows, also once at the start.

    Raises:
        InputError: an argument does not fit, or not one image can be read.
        StoreMismatchError: the store was made with other facts.
        StoreBusyError: another process writes to the store.
        StoreCorruptError: the store is damaged.
        DiskFullError: there is no room; what is finished stays.
        UnreachableError: a URL cannot be read or written; what is finished stays.
        ClusterError: Ray's workers are lost again and again; what is finished stays.
        UnreadableFileError: an image cannot be read and `unreadable` is "stop"; what is finished
            stays.
    """
    started = time.perf_counter()
    remarks: list[str] = []
    _check(batch_size=batch_size, workers=workers)
    augmentation = augmentation or Augmentation(views=0)
    sizes = file_sizes(manifest)
    with (
        machines(engine, address=ray_address, device=device, workers=workers) as where,
        StoreWriter.create_or_resume(
            store,
            fingerprint=_fingerprint(backbone, where, augmentation, dtype, manifest, sizes),
            rows=_table(manifest, sizes),
            root=manifest.root,
            chunk_rows=chunk_rows,
            images=True,
            update=update,
            repair=repair,
        ) as writer,
    ):
        remarks += [writer.remark] if writer.remark else []
        pending = [(number, writer.chunk(number)) for number in writer.pending]
        resumed, made = writer.num_chunks - len(pending), sum(len(rows) for _, rows in pending)
        job = Job(
            num_rows=writer.num_rows,
            paths=writer.rows["path"].to_pylist(),
            ids=writer.rows["id"].to_pylist(),
            sizes=writer.rows["bytes"].to_pylist(),
            root=manifest.root,
            augmentation=augmentation,
            dtype=dtype,
            device=where.device,
            precision=where.precision,
            batch_size=batch_size,
            workers=workers,
            unreadable=unreadable,
        )
        done = writer.num_rows - made
        progress(done, writer.num_rows)
        with closing(
            where.run(job, backbone, pending, writer.files, remark=remarks.append)
        ) as steps:
            for step in steps:
                done += step.rows
                progress(done, writer.num_rows)
                if step.finished:
                    writer.note(step.finished)
    left_out = _unreadable(writer.path)
    seconds = time.perf_counter() - started
    return ExtractReport(
        store=writer.path,
        rows=len(manifest),
        readable=len(manifest) - len(left_out),
        unreadable=left_out,
        num_features=backbone.num_features,
        seconds=seconds,
        images_per_second=made / seconds,
        resumed_chunks=resumed,
        already_complete=not pending,
        changes=writer.changes,
        device=where.device,
        precision=where.precision,
        remarks=tuple(remarks),
    )


def library_versions() -> dict[str, str]:
    """Return the versions that a fingerprint holds, with what else changes the last bits."""
    return {library: version(library) for library in _LIBRARIES} | _ROUNDING


def _fingerprint(
    backbone: Backbone,
    where: Machines,
    augmentation: Augmentation,
    dtype: str,
    manifest: Manifest,
    sizes: Sequence[int],
) -> Fingerprint:
    return Fingerprint(
        backbone=backbone.name,
        weights_sha256=backbone.weights_sha256,
        transform=backbone.transform.to_json(),
        pool=backbone.pool,
        dtype=dtype,
        num_features=backbone.num_features,
        precision=where.precision,
        rows_digest=rows_digest(manifest.ids, sizes),
        versions=library_versions(),
        views=augmentation.views,
        augmentation=augmentation.to_json(),
        code=REVISION,
    )


def _check(*, batch_size: int | None, workers: int | None) -> None:
    for name, value in {"batch size": batch_size, "number of workers": workers}.items():
        if value is not None and value < 1:
            raise InputError(f"the {name} is {value}, expected at least 1")


def _table(manifest: Manifest, sizes: Sequence[int]) -> pa.Table:
    columns = {
        "id": manifest.ids,
        "path": manifest.paths,
        "label": manifest.labels,
        "split": manifest.splits,
        "superlabel": manifest.superlabels,
        "true_label": manifest.true_labels,
        "bytes": sizes,
    }
    return pa.table({name: pa.array(column) for name, column in columns.items() if column})


def _unreadable(path: Location) -> dict[str, str]:
    """Return id -> reason; raises InputError if that is all of them."""
    store = FeatureStore.open(path)
    ids = store.table["id"]
    reasons = {ids[row].as_py(): reason for row, reason in store.unreadable.items()}
    if len(reasons) == store.num_rows:
        first, reason = next(iter(reasons.items()))
        raise InputError(
            f"none of the {len(reasons)} images can be used, for example {first}: {reason}: mend "
            f"them, delete {path} and try again"
        )
    return reasons
