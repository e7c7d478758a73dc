"""MATLAB files as lists of plain values."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from scipy.io import loadmat

from cache.errors import InputError
from pipeline.extraction import containers


def load_structs(path: str, name: str) -> list[Mapping[str, Any]]:
    """Read an array of structs, each as field -> value in the file's order.

    Raises:
        InputError: the file is missing or damaged, or has no such array.
    """
    found = _load(path).get(name)
    structs = [found] if isinstance(found, dict) else list(found if found is not None else [])
    if not structs or not isinstance(structs[0], dict):
        raise InputError(f"{path} has no structs named {name!r}: it is another file")
    return structs


def load_texts(path: str, name: str) -> list[str]:
    """Read a cell array of texts; empty if there is none of this name.

    Raises:
        InputError: the file is missing or damaged.
    """
    found = _load(path).get(name, [])
    return [found] if isinstance(found, str) else [str(text) for text in found]


def _load(path: str) -> Mapping[str, Any]:
    try:
        content = containers.read_bytes(path)
    except OSError as error:
        reason = error.strerror or "not there"
        raise InputError(f"cannot read {path} ({reason}): the data set needs it") from error
    try:
        found: Mapping[str, Any] = loadmat(io.BytesIO(content), simplify_cells=True)
    # Damaged files make the reader raise nearly anything.
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(
            f"{path} is no whole MATLAB file ({reason}): it may be truncated, get it again"
        ) from error
    return found
