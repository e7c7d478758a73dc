"""The feature store: what it is, how it is written, verified and read. It knows no learning.

`FeatureStore`, `FeatureRows`, `Features` and `StoreWriter` load Zarr and Arrow when they are first
used, so that the command line can import the errors without waiting for either.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cache.errors import (
    DiskFullError,
    DmlError,
    InputError,
    StoreBusyError,
    StoreCorruptError,
    StoreIncompleteError,
    StoreMismatchError,
    StoreNotFoundError,
    UnreachableError,
)
from cache.fingerprint import Fingerprint, rows_digest, sha256_of_file

if TYPE_CHECKING:
    from cache.feature_rows import FeatureRows
    from cache.store import Features, FeatureStore
    from cache.writer import StoreWriter

__all__ = [
    "DiskFullError",
    "DmlError",
    "FeatureRows",
    "FeatureStore",
    "Features",
    "Fingerprint",
    "InputError",
    "StoreBusyError",
    "StoreCorruptError",
    "StoreIncompleteError",
    "StoreMismatchError",
    "StoreNotFoundError",
    "StoreWriter",
    "UnreachableError",
    "rows_digest",
    "sha256_of_file",
]

_LAZY = {
    "FeatureRows": "cache.feature_rows",
    "FeatureStore": "cache.store",
    "Features": "cache.store",
    "StoreWriter": "cache.writer",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
