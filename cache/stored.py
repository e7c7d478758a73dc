"""The stored chunks of some arrays of a store: read, checked and decoded; and written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache.array import Array, bad_chunk
from cache.encoding import decode, dtype_when_read, encode
from cache.errors import InputError
from cache.layout import IMAGES, Header
from cache.ledger import FinishedChunk, Ledger
from cache.places.durable import writing_to
from cache.places.place import Place


class StoredFeatures:
    """The feature vectors of one name, chunk by chunk; safe from several threads.

    Attributes:
        dtype: that they are given back in.
    """

    def __init__(
        self, store: Place, header: Header, ledger: Ledger, name: str, *, verify: bool
    ) -> None:
        """Take the parts of a store and one of the fingerprint's `feature_names`.

        Raises:
            StoreCorruptError: an array is missing or damaged.
        """
        self._stored_as = header.fingerprint.dtype
        self.dtype = dtype_when_read(self._stored_as)
        self._is_direct = self.dtype == self._stored_as
        self._arrays = [Array(store, spec, header) for spec in header.arrays_of(name)]
        self._is_plain = all(array.is_plain for array in self._arrays)
        self._store, self._ledger, self._verify = store, ledger, verify

    def read(self, number: int, values: NDArray[np.floating]) -> None:
        """Fill `values` with the first (n, F) of a chunk, readable or not, and check them."""
        stored = [
            values
            if self._is_direct
            else np.empty((len(values), array.spec.width), array.spec.dtype)
            for array in self._arrays
        ]
        for array, part in zip(self._arrays, stored, strict=True):
            array.read(number, part)
        if self._verify:
            named = {
                array.spec.name: part for array, part in zip(self._arrays, stored, strict=True)
            }
            if not self._ledger.chunks[number].holds(named):
                raise bad_chunk(self._store, number, "has changed since it was written")
        if not self._is_direct:
            decode(stored, self._stored_as, values)

    def read_some(self, number: int, rows: NDArray[np.int64], values: NDArray[np.floating]) -> None:
        """Fill `values` (n, F) with ascending rows (n,) of a chunk, counted from its first."""
        stored = [
            values if self._is_direct else np.empty((len(rows), array.spec.width), array.spec.dtype)
            for array in self._arrays
        ]
        for array, part in zip(self._arrays, stored, strict=True):
            array.read_some(number, rows, part)
        if not self._is_direct:
            decode(stored, self._stored_as, values)

    def is_worth_reading_some(self, rows: NDArray[np.int64]) -> bool:
        """Tell whether `read_some` of these rows is cheaper than reading their chunk whole."""
        return self._is_plain and self._arrays[0].is_worth_reading_some(rows)


def read_chunk(
    store: Place, header: Header, chunk: FinishedChunk, names: Collection[str] | None = None
) -> dict[str, NDArray[np.generic]]:
    """Read the rows that a chunk has, as they are stored, and check them.

    Args:
        store: where.
        header: of the store.
        chunk: which.
        names: of the arrays; None = all.

    Returns:
        Array name -> (n, width).

    Raises:
        StoreCorruptError: the chunk is missing or damaged.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    for spec in header.arrays:
        if names is None or spec.name in names:
            arrays[spec.name] = np.empty((chunk.num_rows, spec.width), spec.dtype)
            Array(store, spec, header).read(chunk.number, arrays[spec.name])
    if not chunk.holds(arrays):
        raise bad_chunk(store, chunk.number, "has changed since it was written")
    return arrays


@dataclass(frozen=True)
class ChunkFiles:
    """Writes the files of chunks, and says what the ledger has to note of each.

    It can be sent to another process or machine: whoever writes a chunk writes all of its files,
    and only the holder of the store's lock writes the ledger.

    Attributes:
        store: where.
        header: of the store.
        grown: number -> the line of each chunk of which the first rows are there already.
    """

    store: Place
    header: Header
    grown: Mapping[int, FinishedChunk]

    def check(self) -> None:
        """Look at the arrays; raises StoreCorruptError if one is missing or damaged."""
        for spec in self.header.arrays:
            Array(self.store, spec, self.header).check()

    def write(
        self,
        number: int,
        values: NDArray[np.floating],
        unreadable: Mapping[int, str],
        images: NDArray[np.uint8] | None = None,
    ) -> FinishedChunk:
        """Write the missing rows of a chunk; on return they are durable.

        Args:
            number: which chunk.
            values: (n, F) or (n, A, F) floats, one for each of the A feature names; those of
                unreadable rows do not matter.
            unreadable: row -> why there is no feature for it.
            images: (n, 40) hashes of the image files, if the store has them.

        Raises:
            InputError: the shape is wrong, a value is not finite in the store's dtype, or an
                unreadable row is not one of the missing ones.
            StoreCorruptError: the rows that were there before cannot be read.
            DiskFullError: there is no room.
        """
        earlier = self.grown.get(number)
        rows = self.header.chunk(number)[earlier.num_rows if earlier else 0 :]
        stored = self._as_stored(rows, values, unreadable, images)
        known = dict(unreadable)
        if earlier:
            before = read_chunk(self.store, self.header, earlier)
            stored = {name: np.concatenate([before[name], stored[name]]) for name in stored}
            known = {**earlier.unreadable, **unreadable}
        with writing_to(self.store):
            for spec in self.header.arrays:
                Array(self.store, spec, self.header).write(number, stored[spec.name])
        return FinishedChunk.of(number, stored, known)

    def _as_stored(
        self,
        rows: range,
        values: NDArray[np.floating],
        unreadable: Mapping[int, str],
        images: NDArray[np.uint8] | None,
    ) -> dict[str, NDArray[np.generic]]:
        facts = self.header.fingerprint
        names = facts.feature_names
        expected = (len(rows), len(names), facts.num_features)
        if values.shape not in (expected, expected[::2] if len(names) == 1 else expected):
            raise InputError(f"the chunk's values have shape {values.shape}, expected {expected}")
        values = values.reshape(expected)
        if strangers := [row for row in unreadable if row not in rows]:
            raise InputError(f"the unreadable row {strangers[0]} is not in the chunk's {rows}")
        left_out = [row - rows.start for row in unreadable]
        stored: dict[str, NDArray[np.generic]] = {}
        for name, part in zip(names, values.swapaxes(0, 1), strict=True):
            arrays = _encoded(rows, part, left_out, facts.dtype)
            specs = self.header.arrays_of(name)
            stored |= {spec.name: each for spec, each in zip(specs, arrays, strict=True)}
        if self.header.has_images:
            if images is None or images.shape != (len(rows), self.header.arrays[-1].width):
                raise InputError("the store has hashes of images: give (rows, 40) of them")
            stored[IMAGES] = images
        return stored


def _encoded(
    rows: range, values: NDArray[np.floating], left_out: list[int], dtype: str
) -> list[NDArray[np.generic]]:
    """Encode (n, F); rows left out become NaN, others must fit."""
    kept = values.astype(np.float32 if values.dtype.itemsize < 4 else values.dtype)
    kept[left_out] = 0
    arrays = encode(kept, dtype)
    read = np.empty(values.shape, dtype_when_read(dtype))
    with np.errstate(all="ignore"):
        decode(arrays, dtype, read)
    finite = np.isfinite(read).all(axis=1)
    if not finite.all():
        raise InputError(
            f"the features of row {rows[int(np.argmin(finite))]} are not finite numbers in "
            f"{dtype}: try --dtype float32 with another --store, or leave this row out"
        )
    if left_out:
        gaps = encode(np.full((len(left_out), values.shape[1]), np.nan, np.float32), dtype)
        for array, gap in zip(arrays, gaps, strict=True):
            array[left_out] = gap
    return arrays
