"""Image files into one batch of pixels, each in its own place whatever is wrong with the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache.places.urls import Location, below
from pipeline.extraction.pictures.decoding import UnreadableImageError, decode_content, read
from pipeline.extraction.pictures.hashes import (
    CONTENT_BYTES,
    HASH_BYTES,
    content_hash,
    difference_hash,
)
from pipeline.extraction.pictures.images import Transform, prepare
from pipeline.extraction.pictures.views import Augmentation, prepare_view


@dataclass(frozen=True, kw_only=True)
class Source:
    """All image files of an extraction, and how each becomes the network's input.

    Attributes:
        paths: N files, absolute or relative to `root`.
        ids: N names, which the random numbers of the views are made of.
        root: folder or URL that relative paths start from.
        transform: how a picture becomes pixels.
        augmentation: which further views of each picture there are.
        sizes: N numbers of bytes when the files were listed, -1 where there was none; None if
            nobody knows them.
    """

    paths: Sequence[str]
    ids: Sequence[str]
    root: Location
    transform: Transform
    augmentation: Augmentation
    sizes: Sequence[int] | None = None


@dataclass(frozen=True)
class Loaded:
    """The pixels of some files, ready for the network.

    Attributes:
        files: which files, by their place in the list.
        pixels: (V + 1, B, 3, H, W) uint8, each view in channels-last order; those of unreadable
            files, and those after the last file, are 0.
        unreadable: file -> why it cannot be read.
        images: (B, 40) uint8, the content hash and the difference hash of each file; 0 where
            nothing could be read, or nothing decoded.
    """

    files: range
    pixels: Tensor
    unreadable: dict[int, str]
    images: NDArray[np.uint8]


def load(files: range, source: Source, *, size: int, is_pinned: bool) -> Loaded:
    """Read each file once, decode and prepare it.

    Args:
        files: which files, by their place in the list.
        source: all files.
        size: number B of pictures in the batch, at least that of the files.
        is_pinned: whether the memory is one that CUDA copies from without waiting.
    """
    side, views = source.transform.crop, source.augmentation.views + 1
    # Filled as (B, H, W, 3): seen as (B, 3, H, W) that is torch's channels-last.
    pixels = torch.zeros((views, size, side, side, 3), dtype=torch.uint8, pin_memory=is_pinned)
    pixels = pixels.permute(0, 1, 4, 2, 3)
    images = np.zeros((len(files), HASH_BYTES), np.uint8)
    array, unreadable = pixels.numpy(), {}
    for place, file in enumerate(files):
        try:
            _load_file(file, source, array[:, place], images[place])
        except UnreadableImageError as error:
            unreadable[file] = str(error)
    return Loaded(files, pixels, unreadable, images)


def _load_file(
    file: int, source: Source, pixels: NDArray[np.uint8], hashes: NDArray[np.uint8]
) -> None:
    """Fill in (V + 1, 3, H, W) pixels and (40,) hashes."""
    transform, augmentation = source.transform, source.augmentation
    expected = None if source.sizes is None else source.sizes[file]
    content = read(below(source.root, source.paths[file]), transform.reading, expected=expected)
    hashes[:CONTENT_BYTES] = content_hash(content)
    image = decode_content(content, transform.reading)
    hashes[CONTENT_BYTES:] = difference_hash(image)
    pixels[0] = prepare(image, transform)
    for view in range(1, len(pixels)):
        pixels[view] = prepare_view(
            image, transform, augmentation, row_id=source.ids[file], view=view
        )
