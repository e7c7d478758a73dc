"""Pictures in a CIFAR python batch: rows of one array in a pickle."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from cache.errors import InputError
from cache.places.urls import Location
from pipeline.extraction.containers._pickled import plain_pickles
from pipeline.extraction.containers._source import read_whole

SIDE = 32
_VALUES = 3 * SIDE * SIDE
_PPM = f"P6 {SIDE} {SIDE} 255\n".encode()


def load_batch(file: Location) -> Mapping[str, Any]:
    """Read a batch with its checked pictures `data`, (N, 3072) uint8: red, green, blue planes.

    Raises:
        InputError: the file is no such batch.
    """
    found: Any = plain_pickles(read_whole(file), str(file))[0]
    data = found.get("data") if isinstance(found, dict) else None
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (_VALUES,):
        raise InputError(f"{file} is no CIFAR batch: expected 'data' of N x {_VALUES} bytes")
    batch: Mapping[str, Any] = found
    return batch


class CifarBatch:
    """The pictures of a batch by row, each given as a PPM image."""

    def __init__(self, file: Location) -> None:
        self._pictures = load_batch(file)["data"].reshape(-1, 3, SIDE, SIDE)  # (N, 3, H, W)

    def names(self) -> Collection[str]:
        """List the row numbers."""
        return [str(row) for row in range(len(self._pictures))]

    def has(self, name: str) -> bool:
        """Tell whether there is such a row."""
        return name.isdecimal() and int(name) < len(self._pictures)

    def size(self, name: str) -> int:
        """Return a picture's number of bytes, the same for all; raises KeyError without it."""
        self._row(name)
        return _VALUES

    def read(self, name: str) -> bytes:
        """Return a picture; raises KeyError if it is not there."""
        pixels: bytes = self._pictures[self._row(name)].transpose(1, 2, 0).tobytes()
        return _PPM + pixels

    def _row(self, name: str) -> int:
        if not self.has(name):
            raise KeyError(name)
        return int(name)
