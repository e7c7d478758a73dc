"""The features of a store on the disk: filled into memory, in order, or by row number."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cache.averaged import AveragedFeatures
from cache.errors import InputError
from cache.layout import Header
from cache.places.place import Place
from cache.stored import StoredFeatures

_READERS = 4  # chunks on their way at once; on two cores more did not read faster
_AHEAD = 2 * _READERS  # chunks that wait for a reader or to be taken

Task = TypeVar("Task")
Result = TypeVar("Result")


def _quiet(done: int, total: int) -> None:
    """Tell nobody how far it is."""


class FeatureRows:
    """The features (N, F) of all readable rows of a complete store, in the store's order.

    Row i is row i of what `FeatureStore.read` returns. A chunk that is read whole is compared
    with its checksum; rows that `take` reads alone are not. Safe to use from several threads;
    beside what is returned a handful of chunks are in memory.

    Attributes:
        num_rows: number of readable rows N.
        num_features: length F of one feature vector.
        dtype: of the values.
    """

    def __init__(
        self,
        store: Place,
        header: Header,
        features: StoredFeatures | AveragedFeatures,
        gaps: Iterable[int],
    ) -> None:
        """Take the parts of a complete store; `FeatureStore.on_disk` does.

        Args:
            store: where it is.
            header: of the store.
            features: those of one name, or the mean of several.
            gaps: rows of the arrays that are not to be seen, ascending.
        """
        self._gaps = np.array(list(gaps), np.int64)
        self.num_rows = header.num_rows - len(self._gaps)
        self.num_features = header.fingerprint.num_features
        self.dtype = features.dtype
        self._features = features
        self._readable_before_gap = self._gaps - np.arange(len(self._gaps))
        self._store, self._header = store, header

    def read_into(
        self,
        values: NDArray[np.floating],
        *,
        start: int = 0,
        progress: Callable[[int, int], None] = _quiet,
    ) -> None:
        """Fill an array with the rows from `start` on, by several threads, without a second copy.

        Args:
            values: (n, F) in this `dtype`, writable and C-contiguous, in whatever memory.
            start: row that comes first, at least 0; there have to be n rows from it on.
            progress: called with (rows done, n).

        Raises:
            InputError: the array has another form, or there are not so many rows.
            StoreCorruptError: a chunk is missing or damaged.
        """
        self._check(values)
        stop = start + len(values)
        if start < 0 or stop > self.num_rows:
            raise self._out_of_range(start if start < 0 else stop - 1)

        def load(number: int) -> int:
            rows = self._rows(number)
            first, end = max(rows.start, start), min(rows.stop, stop)
            part = values[first - start : end - start]
            if len(part) == len(self._header.chunk(number)):
                self._read(number, part)
            else:
                part[...] = self._chunk(number)[first - rows.start : end - rows.start]
            return end - start

        numbers = self._chunks_of(start, stop)
        for done in _in_order(load, numbers):
            progress(done, len(values))

    def chunks(self) -> Iterator[tuple[range, NDArray[np.floating]]]:
        """Walk through all rows once, in order, while the next ones are read.

        Yields:
            The numbers of some rows, and their features, which are the caller's to keep.

        Raises:
            StoreCorruptError: a chunk is missing or damaged.
        """

        def load(number: int) -> tuple[range, NDArray[np.floating]]:
            return self._rows(number), self._chunk(number)

        for rows, values in _in_order(load, range(self._header.num_chunks)):
            if rows:
                yield rows, values

    def take(
        self, rows: NDArray[np.int64], *, out: NDArray[np.floating] | None = None
    ) -> NDArray[np.floating]:
        """Return the features of some rows and read little else.

        Few rows of a chunk are read alone, if the store is not compressed; else the whole chunk
        is, once.

        Args:
            rows: (n,) row numbers, each in [0, N), strictly ascending.
            out: (n, F) in this `dtype`, writable and C-contiguous: filled and returned.

        Raises:
            InputError: rows are out of range or not ascending, or `out` has another form.
            StoreCorruptError: a chunk is missing or damaged.
        """
        self._check_rows(rows)
        values = np.empty((len(rows), self.num_features), self.dtype) if out is None else out
        self._check(values)
        if len(values) != len(rows):
            raise InputError(f"the array has {len(values)} rows, expected {len(rows)}")
        rows = rows + np.searchsorted(self._readable_before_gap, rows, side="right")  # of manifest
        numbers = rows // self._header.chunk_rows
        starts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()  # one for each chunk

        def load(part: tuple[int, int]) -> None:
            start, stop = part
            self._pick(int(numbers[start]), rows[start:stop], values[start:stop])

        deque(_in_order(load, pairwise([*starts, len(rows)])), maxlen=0)
        return values

    def _pick(self, number: int, rows: NDArray[np.int64], values: NDArray[np.floating]) -> None:
        """Fill `values` (n, F) with manifest rows (n,) that lie in one chunk."""
        at = rows - self._header.chunk(number).start
        if self._features.is_worth_reading_some(at):
            self._features.read_some(number, at, values)
            return
        whole = self._read(number, self._empty(number))
        np.take(whole, at, axis=0, out=values, mode="clip")  # other modes make a copy of `out`

    def _chunk(self, number: int) -> NDArray[np.floating]:
        """Read the readable rows of a chunk."""
        chunk, values = self._header.chunk(number), self._read(number, self._empty(number))
        first, end = np.searchsorted(self._gaps, [chunk.start, chunk.stop])
        gaps = self._gaps[first:end] - chunk.start
        return np.delete(values, gaps, axis=0) if len(gaps) else values

    def _read(self, number: int, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Fill `values` (rows of the chunk, F), readable or not, and check them."""
        self._features.read(number, values)
        return values

    def _empty(self, number: int) -> NDArray[np.floating]:
        return np.empty((len(self._header.chunk(number)), self.num_features), self.dtype)

    def _rows(self, number: int) -> range:
        """Return the numbers of a chunk's readable rows."""
        chunk = self._header.chunk(number)
        start, stop = (
            int(row - np.searchsorted(self._gaps, row)) for row in (chunk.start, chunk.stop)
        )
        return range(start, stop)

    def _chunks_of(self, start: int, stop: int) -> range:
        """Return the chunks with the rows from start to stop."""
        if start >= stop:
            return range(0)
        ends = np.array([start, stop - 1])
        first, last = ends + np.searchsorted(self._readable_before_gap, ends, side="right")
        return range(
            int(first) // self._header.chunk_rows, int(last) // self._header.chunk_rows + 1
        )

    def _check(self, values: NDArray[np.floating]) -> None:
        """Refuse an array that cannot be filled as it is."""
        found = (values.shape[1:], values.dtype, values.flags.c_contiguous, values.flags.writeable)
        if found != ((self.num_features,), self.dtype, True, True):
            raise InputError(
                f"the array to fill is {values.dtype} {values.shape}, expected {self.dtype} "
                f"(rows, {self.num_features}), writable and C-contiguous"
            )

    def _check_rows(self, rows: NDArray[np.int64]) -> None:
        if rows.ndim != 1 or rows.dtype.kind != "i":
            raise InputError(f"the rows are {rows.dtype} {rows.shape}, expected integers (n,)")
        if len(rows) and not (rows[0] >= 0 and rows[-1] < self.num_rows):
            raise self._out_of_range(int(rows[0] if rows[0] < 0 else rows[-1]))
        if len(unsorted := np.flatnonzero(np.diff(rows) <= 0)):
            at = int(unsorted[0])
            raise InputError(
                f"row {rows[at + 1]} comes after row {rows[at]}, expected strictly ascending rows"
            )

    def _out_of_range(self, row: int) -> InputError:
        return InputError(
            f"there is no row {row:,} in {self._store}, expected 0 to {self.num_rows - 1:,}"
        )


def _in_order(work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
    """Work on tasks by several threads and yield what comes of them in the order of the tasks."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(_READERS) as readers:
        try:
            for task in tasks:
                waiting.append(readers.submit(work, task))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
