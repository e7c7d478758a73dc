"""Images of a store that are looked at again: their files, and features made anew of some."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cache.fingerprint import Fingerprint
from cache.layout import IMAGES
from cache.places.urls import below, located
from cache.rows import BYTES, removed_rows
from cache.store import FeatureStore
from cache.stored import read_chunk
from pipeline.backbones._backbone import Backbone
from pipeline.datasets.manifest import Manifest
from pipeline.datasets.sizes import file_sizes
from pipeline.extraction import containers
from pipeline.extraction.again import augmentation_of
from pipeline.extraction.embed import embed_files
from pipeline.extraction.overlap import Batch
from pipeline.extraction.pictures.hashes import CONTENT_BYTES, content_hash

Rows = NDArray[np.int64]


class ImageFiles(NamedTuple):
    """The image files of a store.

    Attributes:
        rows: (n,) rows of the store's table, ascending; all but those that were removed.
        manifest: the images of these rows.
        noted: (n,) bytes of each file when it was embedded, -1 where there was none; None if the
            store does not know.
        now: (n,) the same now.
    """

    rows: Rows
    manifest: Manifest
    noted: Rows | None
    now: Rows

    @property
    def has_changed(self) -> NDArray[np.bool_]:
        """Which files (n,) are there and have another size than they had."""
        if self.noted is None:
            return np.zeros(len(self.now), dtype=bool)
        changed: NDArray[np.bool_] = (self.now >= 0) & (self.noted != self.now)
        return changed


def look_at_files(store: FeatureStore) -> ImageFiles:
    """Look at all files of a store's images."""
    is_live = np.ones(store.table.num_rows, dtype=bool)
    is_live[removed_rows(store.table)] = False
    rows = np.flatnonzero(is_live)
    ids, paths, labels = (tuple(store.rows[name].to_pylist()) for name in ("id", "path", "label"))
    manifest = Manifest(ids=ids, paths=paths, labels=labels, root=located(store.root))
    noted = None
    if BYTES in store.table.column_names:
        noted = np.array(store.table[BYTES].to_pylist(), np.int64)[rows]
    return ImageFiles(rows, manifest, noted, np.array(file_sizes(manifest), np.int64))


def usable_places(store: FeatureStore, files: ImageFiles, damaged: set[int]) -> Rows:
    """Return the places in `files` that canaries can be chosen from."""
    if not store.is_complete:
        return np.empty(0, np.int64)
    is_usable = (files.now >= 0) & ~files.has_changed
    is_usable &= ~np.isin(files.rows // store.chunk_rows, list(damaged))
    is_usable &= ~np.isin(files.rows, list(store.unreadable))
    return np.flatnonzero(is_usable)


def spread(places: Rows, count: int) -> Rows:
    """Choose at most `count` of the places, the first and the last among them."""
    if len(places) <= count:
        return places
    return places[np.linspace(0, len(places) - 1, count).astype(np.int64)]


def has_same_content(store: FeatureStore, files: ImageFiles, chosen: Rows) -> NDArray[np.bool_]:
    """Tell which of some files (n,) have the SHA-256 that the store, which notes it, has noted."""
    is_same = np.zeros(len(chosen), dtype=bool)
    for at, place in enumerate(chosen.tolist()):
        path = below(files.manifest.root, files.manifest.paths[place])
        with suppress(OSError):  # gone or locked since its size was asked for
            now = content_hash(containers.read_bytes(path))
            is_same[at] = np.array_equal(now, _noted_hash(store, int(files.rows[place])))
    return is_same


def embed_again(
    files: ImageFiles, chosen: Rows, facts: Fingerprint, backbone: Backbone, device: torch.device
) -> list[Batch]:
    """Embed some images as they were embedded: batches, precision, views.

    Rounding depends on the batch's size alone, not on which images are together: measured with
    efficientnet_lite0 on a CPU.

    Args:
        files: of a store.
        chosen: (n,) places in `files`.
        facts: of the store.
        backbone: the one that it was made with.
        device: where to embed.

    Returns:
        n images in order, the batches' `files` counting from 0.
    """
    batches = embed_files(
        backbone,
        [files.manifest.paths[at] for at in chosen],
        [range(len(chosen))],
        ids=[files.manifest.ids[at] for at in chosen],
        root=files.manifest.root,
        device=device,
        precision=facts.precision,
        augmentation=augmentation_of(facts),
    )
    with closing(batches):
        return list(batches)


def stored_features(store: FeatureStore, feature: str, rows: Rows) -> NDArray[np.floating]:
    """Read the features (n, F) of some rows of the store's table, ascending."""
    gaps = np.array(sorted([*removed_rows(store.table), *store.unreadable]), np.int64)
    readable = rows - np.searchsorted(gaps, rows)
    on_disk = FeatureStore.at(store.place, feature).on_disk(verify=False)
    return on_disk.take(readable)


def _noted_hash(store: FeatureStore, row: int) -> NDArray[np.generic]:
    number, at = divmod(row, store.chunk_rows)
    chunk = store.ledger.chunks[number]
    return read_chunk(store.place, store.header, chunk, [IMAGES])[IMAGES][at, :CONTENT_BYTES]
