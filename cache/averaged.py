"""Means over a picture and its views, `POOL@mean`: taken while features are read, never stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from cache.errors import InputError
from cache.fingerprint import MEAN, Fingerprint
from cache.places.place import Place
from cache.stored import StoredFeatures

Values = NDArray[np.floating]


class AveragedFeatures:
    """The mean of several `StoredFeatures`, chunk by chunk; safe from several threads.

    Attributes:
        dtype: that they are given back in, the same as of each.
    """

    def __init__(self, parts: Sequence[StoredFeatures]) -> None:
        """Take the features of the plain picture and of its views."""
        self.dtype = parts[0].dtype
        self._parts = parts

    def read(self, number: int, values: Values) -> None:
        """Fill `values` with the first (n, F) of a chunk, readable or not, and check all parts."""

        def parts() -> Iterable[Values]:
            for part in self._parts:
                part.read(number, values)
                yield values

        average(parts(), values)

    def read_some(self, number: int, rows: NDArray[np.int64], values: Values) -> None:
        """Fill `values` (n, F) with ascending rows (n,) of a chunk, counted from its first."""

        def parts() -> Iterable[Values]:
            for part in self._parts:
                part.read_some(number, rows, values)
                yield values

        average(parts(), values)

    def is_worth_reading_some(self, rows: NDArray[np.int64]) -> bool:
        """Tell whether `read_some` of these rows is cheaper than reading their chunk whole."""
        return self._parts[0].is_worth_reading_some(rows)


def average(parts: Iterable[Values], out: Values) -> None:
    """Fill `out` (n, F) with the mean of arrays (n, F), summed up in float32 in their order.

    Rows do not see each other, so a row's mean has the same bits whatever rows are with it. The
    arrays may be `out` itself, filled anew each time: one float32 array is all the memory it takes.
    """
    total, count = np.zeros(out.shape, np.float32), 0
    for part in parts:
        total += part
        count += 1
    np.divide(total, count, out=out, casting="same_kind")


def check_name(place: Place, facts: Fingerprint, features: str) -> None:
    """Refuse a name that a store has no features of.

    Raises:
        InputError: says which there are, or how to get views to average.
    """
    known = facts.feature_names + facts.averaged_names
    if features in known:
        return
    pool = features.removesuffix(MEAN)
    if features != pool and pool in facts.pools:
        raise InputError(
            f"{place} has no views of its pictures, so there is no {features}: take {pool}, or "
            "extract again with --views 2 into another --store"
        )
    raise InputError(f"{place} has no features {features!r}: choose from {', '.join(known)}")
