"""The pictures of the page: small JPEGs of the findings' images, kept for the next time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache

from cache.places.urls import Location, below
from pipeline.pages.thumbnails import thumbnail

SMALL, LARGE = 160, 640  # pixels a side: a neighbour's and the suspect's own
_AT_ONCE = 4  # pictures in work; one that is not yet shrunk may have 90 million pixels
_KEPT_SMALL, _KEPT_LARGE = 4096, 256  # together about 50 MB


class Pictures:
    """Pictures of images by their row; nothing else can be asked for."""

    def __init__(self, root: Location | None, paths: Sequence[str]) -> None:
        """Take the images' root, None if it is not known, and their paths below it."""
        self._root = root
        self._paths = paths
        self._room = threading.Semaphore(_AT_ONCE)
        self._sizes = {
            SMALL: lru_cache(_KEPT_SMALL)(lambda row: self._made(row, SMALL)),
            LARGE: lru_cache(_KEPT_LARGE)(lambda row: self._made(row, LARGE)),
        }

    def jpeg(self, row: int, side: int) -> bytes | None:
        """Return a picture that fits a square, or a grey one for an image that is gone.

        Args:
            row: of the findings.
            side: SMALL or LARGE.

        Returns:
            a JPEG; None where there is no such row or size.
        """
        made = self._sizes.get(side)
        return made(row) if made and 0 <= row < len(self._paths) else None

    def _made(self, row: int, side: int) -> bytes:
        place = None if self._root is None else below(self._root, self._paths[row])
        with self._room:
            return thumbnail(place, side)
