"""Image files into one batch of pixels, each in its own place whatever is wrong with the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.extraction.images import Transform, UnreadableImageError, decode, prepare


@dataclass(frozen=True)
class Loaded:
    """The pixels of some files, ready for the network.

    Attributes:
        files: which files, by their place in the list.
        pixels: (B, 3, H, W) uint8 in channels-last order; those of unreadable files, and those
            after the last file, are 0.
        unreadable: file -> why it cannot be read.
    """

    files: range
    pixels: Tensor
    unreadable: dict[int, str]


def load(
    files: range, paths: Sequence[Path], transform: Transform, *, size: int, is_pinned: bool
) -> Loaded:
    """Decode and prepare some files.

    Args:
        files: which files, by their place in the list.
        paths: where each of them is.
        transform: how a picture becomes pixels.
        size: number B of pictures in the batch, at least that of the files.
        is_pinned: whether the memory is one that CUDA copies from without waiting.
    """
    side = transform.crop
    # Filled as (B, H, W, 3): seen as (B, 3, H, W) that is torch's channels-last.
    pixels = torch.zeros((size, side, side, 3), dtype=torch.uint8, pin_memory=is_pinned)
    pixels = pixels.permute(0, 3, 1, 2)
    array, unreadable = pixels.numpy(), {}
    for place, (file, path) in enumerate(zip(files, paths, strict=True)):
        try:
            array[place] = prepare(decode(path), transform)
        except UnreadableImageError as error:
            unreadable[file] = str(error)
    return Loaded(files, pixels, unreadable)
