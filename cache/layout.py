"""The files of a feature store and its header; `cache/FORMAT.md` tells it to people.

A store is a folder (by convention `features.zarr`) or a URL that any Zarr v3 reader can open:

- `zarr.json`: a Zarr group; its attribute `dml` is the header below;
- `features/` and other Zarr arrays over the same rows (see `cache.array`, `cache.encoding`);
- `rows.parquet`: what is known about row i of the arrays (see `cache.rows`);
- `ledger.jsonl`: the chunks that are finished (see `cache.ledger`);
- `writer.lock`: held while a process writes (see `cache.locks.lock`).
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cache.encoding import SCALE, stored_dtypes
from cache.errors import (
    DmlError,
    InputError,
    StoreCorruptError,
    StoreMismatchError,
    StoreNotFoundError,
)
from cache.fingerprint import Fingerprint
from cache.places.place import Place

FORMAT = 2
HEADER, FEATURES, IMAGES, ROWS = "zarr.json", "features", "images", "rows.parquet"
LEDGER, LOCK = "ledger.jsonl", "writer.lock"
IMAGE_BYTES = 40  # SHA-256 of an image's file, and the 64 bits of its difference hash

# Larger chunks read faster, random rows most of all (benchmarks/chunk_size.py), but an interruption
# costs up to a chunk of work: so about a 64th of the rows.
_CHUNKS, _LEAST_CHUNK, _LARGEST_CHUNK = 64, 512, 4096


def usual_chunk_rows(num_rows: int) -> int:
    """Return the rows of a chunk for so many rows: 512 to 4,096, a power of two."""
    share = max(1, num_rows // _CHUNKS)
    return min(max(1 << (share.bit_length() - 1), _LEAST_CHUNK), _LARGEST_CHUNK)


@dataclass(frozen=True)
class ArraySpec:
    """One Zarr array (N, width) of a store.

    Attributes:
        name: its folder in the store.
        width: values of each row.
        dtype: NumPy's name of their format.
    """

    name: str
    width: int
    dtype: str


@dataclass(frozen=True)
class Header:
    """The facts of a store that hold for all its chunks.

    Attributes:
        fingerprint: what made the features.
        root: folder or URL that the paths of the rows are relative to.
        num_rows: number of rows N of the arrays, removed ones too.
        chunk_rows: rows in each chunk; the last chunk may have fewer.
        has_images: whether hashes of the image files are stored.
        rows: name of the file with the table of the rows.
    """

    fingerprint: Fingerprint
    root: str
    num_rows: int
    chunk_rows: int
    has_images: bool = False
    rows: str = ROWS

    @property
    def num_chunks(self) -> int:
        """Number of chunks that hold all rows."""
        return -(-self.num_rows // self.chunk_rows)

    def chunk(self, number: int) -> range:
        """Return the manifest rows of a chunk."""
        start = number * self.chunk_rows
        return range(start, min(start + self.chunk_rows, self.num_rows))

    def arrays_of(self, feature: str) -> tuple[ArraySpec, ...]:
        """Return the arrays of one of the fingerprint's `feature_names`: values, then scales."""
        facts = self.fingerprint
        pool, _, view = feature.partition("@")
        is_first = feature == facts.feature_names[0]
        name = FEATURES if is_first else f"{FEATURES}-{pool.replace('+', '-and-')}"
        name += f"-view{view}" if view else ""
        dtypes = stored_dtypes(facts.dtype)
        forms = zip(("", SCALE), (facts.num_features, 1), dtypes, strict=False)
        return tuple(ArraySpec(name + end, width, dtype) for end, width, dtype in forms)

    @property
    def arrays(self) -> tuple[ArraySpec, ...]:
        """All arrays of the store, in the order in which a chunk's checksum runs over them."""
        features = (self.arrays_of(name) for name in self.fingerprint.feature_names)
        images = [ArraySpec(IMAGES, IMAGE_BYTES, "uint8")] if self.has_images else []
        return (*(spec for specs in features for spec in specs), *images)

    def to_bytes(self) -> bytes:
        """Return the content of the header's file."""
        facts = {
            "format": FORMAT,
            "fingerprint": self.fingerprint.to_json(),
            "root": self.root,
            "num_rows": self.num_rows,
            "chunk_rows": self.chunk_rows,
            "images": self.has_images,
            "rows": self.rows,
        }
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"dml": facts}}
        return json.dumps(group, indent=2).encode()

    @classmethod
    def load(cls, store: Place) -> Header:
        """Read the header of a store.

        Raises:
            StoreNotFoundError: there is nothing at this path.
            InputError: there is something else than a store.
            StoreMismatchError: the store has a newer format than this program knows.
            StoreCorruptError: the header is damaged.
        """
        facts = _read_facts(store)
        with reading(store, HEADER):
            if facts["format"] > FORMAT:
                raise _newer_format(store, facts["format"])
            return cls(
                fingerprint=Fingerprint.from_json(facts["fingerprint"]),
                root=str(facts["root"]),
                num_rows=int(facts["num_rows"]),
                chunk_rows=int(facts["chunk_rows"]),
                has_images=bool(facts.get("images", False)),
                rows=str(facts.get("rows", ROWS)),
            )


def _read_facts(store: Place) -> Any:
    if store.is_free():
        raise StoreNotFoundError(
            f"there is no feature store at {store}: run `dml extract` first, "
            "or name another one with --store"
        )
    with reading(store, HEADER):
        try:
            return json.loads(store.read(HEADER))["attributes"]["dml"]
        except (FileNotFoundError, NotADirectoryError, KeyError, TypeError) as error:
            raise InputError(f"{store} is not a feature store: choose another --store") from error


def _newer_format(store: Place, found: int) -> StoreMismatchError:
    return StoreMismatchError(
        f"{store} has format {found}, this version of dml knows formats up to {FORMAT}: "
        "install a newer dml, or choose another --store",
        field="format",
        found=found,
        expected=FORMAT,
    )


@contextmanager
def reading(store: Place, name: str) -> Iterator[None]:
    """Turn what goes wrong while a file of a store is read into an error with a next step.

    Raises:
        StoreCorruptError: the file is missing or does not make sense.
        InputError: the system does not let us read it; it may be sound.
    """
    try:
        yield
    except DmlError:
        raise
    except OSError as error:
        if error.errno in (None, errno.ENOENT):  # Arrow's errors of decoding have no number
            raise damaged(store, name) from error
        reason = os.strerror(error.errno).lower()
        raise InputError(f"cannot read {name} of {store}: {reason}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(store, name) from error


def damaged(store: Place, name: str) -> StoreCorruptError:
    """Return the error for a file of a store that is missing or does not make sense."""
    return StoreCorruptError(
        f"{name} of {store} is missing or damaged: delete the store and run `dml extract` again"
    )
