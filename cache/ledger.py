"""The ledger of a store: one line for each chunk whose features are safely on the disk.

A chunk without a line does not exist, whatever lies in its file. A last line that was cut off
(the process was killed while it wrote) counts as absent and is removed by the next append.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cache.layout import LEDGER, Header, damaged, reading


@dataclass(frozen=True)
class FinishedChunk:
    """What the ledger knows about one chunk.

    Attributes:
        number: which chunk.
        num_rows: its number of rows, readable or not.
        crc32c: `crc32c_of_values` of its features; None in stores of older versions.
        sha256: `sha256_of_values` of its features.
        unreadable: manifest row -> why there is no feature for it.
    """

    number: int
    num_rows: int
    crc32c: str | None
    sha256: str
    unreadable: Mapping[int, str]

    @classmethod
    def of(
        cls, number: int, values: NDArray[np.floating], unreadable: Mapping[int, str]
    ) -> FinishedChunk:
        """Describe a chunk by its features (rows, F)."""
        crc32c, sha256 = crc32c_of_values(values), sha256_of_values(values)
        return cls(number, len(values), crc32c, sha256, dict(unreadable))

    def holds(self, values: NDArray[np.floating]) -> bool:
        """Tell whether features (rows, F) are those that the chunk was finished with.

        The crc32c is enough for what a disk or a mixed-up copy can do to a file, and taken twelve
        times as fast as the sha256 (24 and 1.8 GB/s a core), which it would take longer to
        compute than the features to read.
        """
        if self.crc32c is None:
            return sha256_of_values(values) == self.sha256
        return crc32c_of_values(values) == self.crc32c

    def to_line(self) -> bytes:
        """Return the chunk's line, with its line end."""
        facts = {
            "chunk": self.number,
            "rows": self.num_rows,
            "crc32c": self.crc32c,
            "sha256": self.sha256,
            "unreadable": {str(row): reason for row, reason in self.unreadable.items()},
        }
        return json.dumps(facts).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> FinishedChunk:
        """Read a chunk's line.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: the line makes no sense.
        """
        facts: Any = json.loads(line)
        unreadable = {int(row): str(reason) for row, reason in facts["unreadable"].items()}
        crc32c = facts.get("crc32c")
        return cls(
            number=int(facts["chunk"]),
            num_rows=int(facts["rows"]),
            crc32c=None if crc32c is None else str(crc32c),
            sha256=str(facts["sha256"]),
            unreadable=unreadable,
        )


class Ledger:
    """The finished chunks of one store.

    Attributes:
        chunks: chunk number -> its line, in the order of the file.
    """

    def __init__(self, path: Path, chunks: dict[int, FinishedChunk], length: int) -> None:
        """Take the chunks that the first `length` bytes of the file tell."""
        self.chunks = chunks
        self._path = path
        self._length = length

    @classmethod
    def load(cls, store: Path, header: Header) -> Ledger:
        """Read the ledger of a store.

        Raises:
            StoreCorruptError: it is missing, or a line that was not cut off makes no sense.
        """
        with reading(store, LEDGER):
            lines = (store / LEDGER).read_bytes().splitlines(keepends=True)
            if lines and not lines[-1].endswith(b"\n"):
                lines.pop()
            chunks = [FinishedChunk.from_line(line) for line in lines]
        by_number = {chunk.number: chunk for chunk in chunks}
        if len(by_number) < len(chunks) or not all(_fits(chunk, header) for chunk in chunks):
            raise damaged(store, LEDGER)
        return cls(store / LEDGER, by_number, sum(map(len, lines)))

    def append(self, chunk: FinishedChunk) -> None:
        """Add a chunk whose features are on the disk, and wait until its line is there too."""
        line = chunk.to_line()
        with open(self._path, "r+b") as file:
            file.truncate(self._length)
            file.seek(self._length)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._length += len(line)
        self.chunks[chunk.number] = chunk

    def num_rows(self) -> int:
        """Return the number of rows of the finished chunks, readable or not."""
        return sum(chunk.num_rows for chunk in self.chunks.values())

    def unreadable(self) -> dict[int, str]:
        """Return manifest row -> why it has no feature, in manifest order."""
        rows = (item for chunk in self.chunks.values() for item in chunk.unreadable.items())
        return dict(sorted(rows))


def _fits(chunk: FinishedChunk, header: Header) -> bool:
    if not 0 <= chunk.number < header.num_chunks:
        return False
    rows = header.chunk(chunk.number)
    return chunk.num_rows == len(rows) and all(row in rows for row in chunk.unreadable)


def sha256_of_values(values: NDArray[np.floating]) -> str:
    """Return the hex sha256 of an array's raw values in row order."""
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


def crc32c_of_values(values: NDArray[np.floating]) -> str:
    """Return the CRC-32C of an array's raw values in row order as eight hex digits."""
    return f"{google_crc32c.value(np.ascontiguousarray(values)):08x}"
