"""What an exported file is tried on: stored features, or pictures of the store."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache.places.urls import located
from cache.store import FeatureStore
from pipeline.extraction.canaries import spread
from pipeline.extraction.loading import Loaded, Source, load
from pipeline.extraction.pictures.hashes import CONTENT_BYTES
from pipeline.extraction.pictures.images import Transform
from pipeline.extraction.pictures.views import Augmentation

_FEATURES, _PICTURES = 256, 8
_MADE_UP = 4


class Sample(NamedTuple):
    """Inputs to try a file on.

    Attributes:
        inputs: (B, F) float32 features, or (B, 3, H, W) uint8 pixels.
        told: what they are, in words.
        stored: (B, F) float32, the store's features of the same pictures; None if unknown.
    """

    inputs: NDArray[np.generic]
    told: str
    stored: NDArray[np.float32] | None = None


def features_of(store: FeatureStore) -> Sample:
    """Take features from all over the store."""
    disk = store.on_disk()
    chosen = spread(np.arange(disk.num_rows), _FEATURES)
    return Sample(disk.take(chosen).astype(np.float32), f"{len(chosen):,} stored features")


def pictures_of(store: FeatureStore, transform: Transform) -> Sample:
    """Take pictures from all over the store, as far as their files are what they were.

    Where no file is there, pixels are drawn at random: enough to compare two programs.
    """
    rows = store.readable_rows()
    chosen = spread(np.arange(rows.num_rows), _PICTURES)
    source = Source(
        paths=rows["path"].take(chosen).to_pylist(),
        ids=rows["id"].take(chosen).to_pylist(),
        root=located(store.root),
        transform=transform,
        augmentation=Augmentation(views=0),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # of odd metadata and large pictures
        loaded = load(range(len(chosen)), source, size=len(chosen), is_pinned=False)
    sound = _sound(loaded, store.images(), chosen)
    if not len(sound):
        side = transform.crop
        drawn = np.random.default_rng(0).integers(0, 256, (_MADE_UP, 3, side, side), np.uint8)
        told = f"{_MADE_UP} random pictures, because no image is where it was: {store.root}"
        return Sample(drawn, told)
    pixels = np.ascontiguousarray(loaded.pixels[0].numpy()[sound])  # (B, 3, H, W)
    stored = store.on_disk().take(chosen[sound]).astype(np.float32)
    return Sample(pixels, f"{len(sound):,} images of the store", stored)


def _sound(
    loaded: Loaded, noted: NDArray[np.uint8] | None, chosen: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the places of the pictures that could be read and have not changed."""
    readable = np.array([place not in loaded.unreadable for place in loaded.files])
    if noted is not None:
        same = loaded.images[:, :CONTENT_BYTES] == noted[chosen, :CONTENT_BYTES]
        readable &= same.all(axis=1)
    return np.flatnonzero(readable)
