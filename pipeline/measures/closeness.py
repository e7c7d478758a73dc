"""How far features made again are from what a store holds, and how far they may be."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache.encoding import decode, dtype_when_read, encode

Values = NDArray[np.floating]

# The largest relative error of rounding once to each format.
_ROUNDING = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-9}
_LEVELS = 127  # of int8 on each side of zero
# Roundings of a network add up. With efficientnet_lite0 the features (N, F) of one photo differed
# by 21 roundings of float32 between batches of 8 and 16, and by 30 of bfloat16 between bfloat16 and
# float32, as the length of the difference by the length of the features. Twice that is allowed.
_ROUNDINGS = 64


class Closeness(NamedTuple):
    """Features made again beside those that are stored.

    Attributes:
        rows: number of rows compared.
        equal: rows of them that are equal bit for bit, as the store would hold them.
        difference: largest difference of two values.
        cosine: smallest cosine of a row with itself.
        allowed: largest distance that rounding explains, by the length of a row; the largest of
            all rows.
        is_far: (rows,) bool, which rows are farther away than rounding explains.
    """

    rows: int
    equal: int
    difference: float
    cosine: float
    allowed: float
    is_far: NDArray[np.bool_]


def compare_features(now: Values, stored: Values, *, dtype: str, precision: str) -> Closeness:
    """Compare rows one by one.

    A row may be as far from itself as 64 roundings of the network's arithmetic and two of the
    store's format are, by the length of the row; for int8 one step in each value.

    Args:
        now: (n, F) float32, n at least 1.
        stored: (n, F), as the store gives them.
        dtype: of the store.
        precision: of the network, "float32" or "bfloat16".
    """
    rounded = np.empty(stored.shape, dtype_when_read(dtype))
    decode(encode(now, dtype), dtype, rounded)
    ours, theirs = rounded.astype(np.float64), stored.astype(np.float64)
    length = np.linalg.norm(theirs, axis=1)  # (n,)
    distance = np.linalg.norm(ours - theirs, axis=1)
    allowed = _ROUNDINGS * _ROUNDING[precision] * length + _rounding_of_store(theirs, length, dtype)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (ours * theirs).sum(axis=1) / (np.linalg.norm(ours, axis=1) * length)
        share = allowed / length
    return Closeness(
        rows=len(stored),
        equal=int((rounded == stored).all(axis=1).sum()),
        difference=float(np.abs(ours - theirs).max()),
        cosine=float(np.nan_to_num(cosine, nan=1.0).min()),  # rows of zeros have no direction
        allowed=float(np.nan_to_num(share).max()),
        is_far=~(distance <= allowed),  # so that NaN is far
    )


def _rounding_of_store(values: Values, length: Values, dtype: str) -> Values:
    """Return (n,) how far two roundings to the store's format can move rows (n, F)."""
    if dtype == "int8":
        step = np.abs(values).max(axis=1) / _LEVELS
        moved: Values = step * np.sqrt(values.shape[1])
        return moved
    return 2 * _ROUNDING[dtype] * length
