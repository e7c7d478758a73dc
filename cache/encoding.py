"""How features stand in a store: number formats, and what is stored for each.

float16 and float32 stand as they are. bfloat16 stands as its 16 bits, which NumPy and Zarr know
only as integers. int8 stands as whole numbers from -127 to 127 with one float32 scale for each row,
its largest absolute value by 127 (symmetric, our choice). Both are read as float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from cache.fingerprint import FEATURE_DTYPES

SCALE = "-scale"  # what the name of the array with the scales ends with
_LARGEST = 127
_STORED: Mapping[str, tuple[str, ...]] = {
    "float16": ("float16",),
    "float32": ("float32",),
    "bfloat16": ("uint16",),
    "int8": ("int8", "float32"),
}
if set(_STORED) != set(FEATURE_DTYPES):
    raise RuntimeError("each dtype needs a form in the store")


def stored_dtypes(dtype: str) -> tuple[str, ...]:
    """Return the NumPy dtypes of the arrays that features of a dtype are stored in.

    The first array is (N, F); a second one (N, 1) holds the scales.
    """
    return _STORED[dtype]


def dtype_when_read(dtype: str) -> np.dtype[np.floating]:
    """Return the dtype that features are given back in."""
    return np.dtype(dtype if dtype in ("float16", "float32") else "float32")


def encode(values: NDArray[np.floating], dtype: str) -> list[NDArray[np.generic]]:
    """Turn features into what is stored.

    Args:
        values: (n, F) floats.
        dtype: of the store.

    Returns:
        One array (n, F), for int8 and one (n, 1) of scales. A row with a value that does not fit
        has values that are not finite when it is decoded.
    """
    with np.errstate(all="ignore"):
        if dtype == "int8":
            exact = values.astype(np.float32)
            scale = np.abs(exact).max(axis=1, keepdims=True) / np.float32(_LARGEST)  # (n, 1)
            whole = np.rint(exact / np.where(scale > 0, scale, 1))
            return [np.nan_to_num(whole).astype(np.int8), scale]
        if dtype == "bfloat16":
            return [values.astype(ml_dtypes.bfloat16).view(np.uint16)]
        return [values.astype(dtype)]


def decode(stored: Sequence[NDArray[np.generic]], dtype: str, out: NDArray[np.floating]) -> None:
    """Turn what is stored back into features: fill `out` (n, F)."""
    if dtype == "int8":
        np.multiply(stored[0], stored[1], out=out, dtype=np.float32)
    elif dtype == "bfloat16":
        out[...] = stored[0].view(ml_dtypes.bfloat16)
    else:
        out[...] = stored[0]
