"""Pickles of plain values and numpy arrays, read without running what else they may hold."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import InputError

Array = NDArray[Any]


def _empty(_kind: object, _shape: object, _dtype: object) -> Array:
    """Stand in for numpy's `_reconstruct`; the state that follows fills it."""
    return np.empty(0, np.int8)


def _from_buffer(buffer: bytes, dtype: Any, shape: tuple[int, ...], order: Any) -> Array:
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


def _encode(text: str, encoding: str) -> bytes:
    return text.encode(encoding)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,  # how Python 3 writes bytes in Python 2's format
    ("collections", "OrderedDict"): dict,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _empty),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


class _PlainUnpickler(pickle.Unpickler):
    """Knows numpy's arrays and nothing else by name, so it can run nothing."""

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed name's stand-in."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]


def plain_pickles(content: bytes, what: str, *, count: int = 1) -> list[Any]:
    """Read the first pickles of a file, texts of Python 2 as Latin-1.

    Args:
        content: the file.
        what: the file's name, for the error.
        count: how many pickles.

    Raises:
        InputError: a pickle is damaged, or holds anything but plain values and numpy arrays.
    """
    stream = io.BytesIO(content)
    try:
        return [_PlainUnpickler(stream, encoding="latin1").load() for _ in range(count)]
    # Damaged pickles make the unpickler raise nearly anything.
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(
            f"{what} is no whole pickle of plain values and numpy arrays ({reason}): it may be "
            "truncated, get it again"
        ) from error
