"""The files of a feature store and its header.

A store is a folder (by convention `features.zarr`) that any Zarr v3 reader can open:

- `zarr.json`: a Zarr group; its attribute `dml` is the header below;
- `features/`: a Zarr array (N, F) in chunks of whole rows, NaN where no feature is; a chunk's file
  holds its values and nothing else (stores of older versions are compressed);
- `rows.parquet`: what is known about row i of the features (see `cache.rows`);
- `ledger.jsonl`: the chunks that are finished (see `cache.ledger`);
- `writer.lock`: held while a process writes (see `cache.lock`).
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.durable import replace_file
from cache.errors import (
    DmlError,
    InputError,
    StoreCorruptError,
    StoreMismatchError,
    StoreNotFoundError,
)
from cache.fingerprint import Fingerprint

FORMAT = 1
HEADER, FEATURES, ROWS = "zarr.json", "features", "rows.parquet"
LEDGER, LOCK = "ledger.jsonl", "writer.lock"


@dataclass(frozen=True)
class Header:
    """The facts of a store that hold for all its chunks.

    Attributes:
        fingerprint: what made the features.
        root: folder that the paths of the rows are relative to.
        num_rows: number of manifest rows N.
        chunk_rows: rows in each chunk; the last chunk may have fewer.
    """

    fingerprint: Fingerprint
    root: str
    num_rows: int
    chunk_rows: int

    @property
    def num_chunks(self) -> int:
        """Number of chunks that hold all rows."""
        return -(-self.num_rows // self.chunk_rows)

    def chunk(self, number: int) -> range:
        """Return the manifest rows of a chunk."""
        start = number * self.chunk_rows
        return range(start, min(start + self.chunk_rows, self.num_rows))

    def save(self, store: Path) -> None:
        """Write or replace the header of a store."""
        facts = {
            "format": FORMAT,
            "fingerprint": self.fingerprint.to_json(),
            "root": self.root,
            "num_rows": self.num_rows,
            "chunk_rows": self.chunk_rows,
        }
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"dml": facts}}
        replace_file(store / HEADER, json.dumps(group, indent=2).encode())

    @classmethod
    def load(cls, store: Path) -> Header:
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
            )


def _read_facts(store: Path) -> Any:
    if not os.path.lexists(store):
        raise StoreNotFoundError(
            f"there is no feature store at {store}: run `dml extract` first, "
            "or name another one with --store"
        )
    with reading(store, HEADER):
        try:
            return json.loads((store / HEADER).read_bytes())["attributes"]["dml"]
        except (FileNotFoundError, NotADirectoryError, KeyError, TypeError) as error:
            raise InputError(f"{store} is not a feature store: choose another --store") from error


def _newer_format(store: Path, found: int) -> StoreMismatchError:
    return StoreMismatchError(
        f"{store} has format {found}, this version of dml knows formats up to {FORMAT}: "
        "install a newer dml, or choose another --store",
        field="format",
        found=found,
        expected=FORMAT,
    )


@contextmanager
def reading(store: Path, name: str) -> Iterator[None]:
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


def damaged(store: Path, name: str) -> StoreCorruptError:
    """Return the error for a file of a store that is missing or does not make sense."""
    return StoreCorruptError(
        f"{name} of {store} is missing or damaged: delete the store and run `dml extract` again"
    )
