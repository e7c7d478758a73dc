"""Hashes of image files, by which copies are found: the file's bytes, and what it looks like."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CONTENT_BYTES = 32
LOOK_BYTES = 8
HASH_BYTES = CONTENT_BYTES + LOOK_BYTES  # of one image: the first part, then the second


def content_hash(content: bytes) -> NDArray[np.uint8]:
    """Return the SHA-256 of a file's bytes, (32,) uint8."""
    return np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint8)


def difference_hash(image: Image.Image) -> NDArray[np.uint8]:
    """Return 64 bits that stay nearly the same when a picture is scaled or compressed again.

    The picture is averaged down to 9 x 8 grey pixels; a bit is 1 where a pixel is brighter than
    the one to its left (dHash, Neal Krawetz 2013). Copies differ in few bits. A plain picture
    has none, so two plain pictures look like copies of each other.

    Args:
        image: RGB, whole.

    Returns:
        (8,) uint8, a byte for each row from the top, its highest bit on the left.
    """
    # Not with `reducing_gap`: twice as fast, but copies of another size differ in 4 bits, not 1.
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX))  # (8, 9)
    return np.packbits(grey[:, 1:] > grey[:, :-1], axis=1)[:, 0]
