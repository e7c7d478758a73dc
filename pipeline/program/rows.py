"""Where features are taken from: a tensor on the device, or a store that stays on the disk.

Rows that stay on the disk are sampled exactly like resident ones. The batches of an epoch are drawn
ahead, so the rows of the next steps are known: they are read at once, each once and in ascending
order, while the steps before them are taken. Results are the same to the last bit wherever the rows
are. (Shuffled chunks, the usual way, would show other batches and depend on the store's order.)
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from inspect import signature
from typing import Protocol, TypeVar, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache.errors import InputError
from cache.feature_rows import FeatureRows

_TILE = 2**19  # elements of the rows that are looked at together: fixed, for equal roundings
_WINDOWS = 3  # in memory at once: the one in use, the one before it, and the one that is read
_PARTS = 16  # of an epoch: a window is not more, for the first one is waited for

Change = Callable[[Tensor], Tensor]
Item = TypeVar("Item")
Result = TypeVar("Result")


class ByNumber(Protocol):
    """Gives rows (B, F) for their numbers (B,) int64, in any order."""

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Take the rows."""


def as_stored(rows: Tensor) -> Tensor:
    """Leave rows as they are."""
    return rows


@dataclass(frozen=True)
class Streamed:
    """Features (N, F) on the disk, which arrive on the device when they are needed.

    Attributes:
        source: a store's features.
        numbers: (N,) int64, which of its rows these are, ascending.
        device: where the rows go.
        memory: bytes that the rows of the next steps may take.
        change: what is done to raw rows (n, F) on the device; rows do not see each other.
        width: features of a row after that; None = as many as before.
    """

    source: FeatureRows
    numbers: NDArray[np.int64]
    device: torch.device
    memory: int
    change: Change = as_stored
    width: int | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows after they are changed, as a transform does."""
        return torch.float32

    @property
    def shape(self) -> tuple[int, int]:
        """N and F, as the rows are after they are changed."""
        width = self.source.num_features if self.width is None else self.width
        return len(self.numbers), width

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Read rows (B,) by number, in any order."""
        different, place = np.unique(rows.cpu().numpy(), return_inverse=True)
        return self._read(different)[torch.from_numpy(place).to(self.device)]

    def only(self, rows: NDArray[np.int64]) -> Streamed:
        """Leave out all but these rows (n,), ascending."""
        return replace(self, numbers=self.numbers[rows])

    def then(self, change: Change) -> Streamed:
        """Do something else to every row after what is done already."""
        none = torch.empty(0, self.shape[1], device=self.device)
        return replace(self, change=_Chain(self.change, change), width=change(none).shape[1])

    def tiles(self, size: int) -> Generator[Tensor, None, None]:
        """Walk through all rows in order, `size` at a time, while the next ones are read."""
        starts = range(0, len(self), size)
        parts = (np.arange(start, min(start + size, len(self))) for start in starts)
        yield from _one_ahead(self._read, parts)

    def checked_tiles(self, size: int) -> Generator[Tensor, None, None]:
        """Walk through all rows like `tiles`, but compare the store's chunks with their checksums.

        Raises:
            StoreCorruptError: a chunk is missing or damaged.
        """
        waiting = np.empty((0, self.source.num_features), self.source.dtype)
        for rows, values in self.source.chunks():
            first, end = np.searchsorted(self.numbers, [rows.start, rows.stop])
            own = values[self.numbers[first:end] - rows.start]
            waiting = np.concatenate([waiting, own])
            while len(waiting) >= size:
                yield self._put(waiting[:size])
                waiting = waiting[size:]
        if len(waiting):
            yield self._put(waiting)

    def windows(self, index: Tensor) -> Generator[tuple[Tensor, ByNumber], None, None]:
        """Walk through batches while the rows of later ones are read.

        Args:
            index: (steps, B) row numbers on the CPU; a negative one stands for row 0.

        Yields:
            A batch's (B,) numbers on the device, and what has its rows.
        """
        steps, size = index.shape
        of_step = size * self.shape[1] * torch.float32.itemsize
        at_once = max(1, min(self.memory // (_WINDOWS * of_step), -(-steps // _PARTS)))
        with closing(_one_ahead(self._window, torch.split(index, at_once))) as windows:
            for window in windows:
                for rows in window.index:
                    yield rows, window

    def _window(self, index: Tensor) -> _Window:
        numbers = np.unique(index.clamp_min(0).numpy())
        values = self._read(numbers)
        return _Window(index.to(self.device), torch.from_numpy(numbers).to(self.device), values)

    def _read(self, rows: NDArray[np.int64]) -> Tensor:
        """Read rows (n,), ascending, tile by tile: raw rows beside changed ones take little."""
        size = tile_rows(self.source.num_features)
        parts = np.split(self.numbers[rows], range(size, len(rows), size))
        return _filled(len(rows), (self._put(self.source.take(part)) for part in parts))

    def _put(self, rows: NDArray[np.floating]) -> Tensor:
        """Bring raw rows (n, F) to the device."""
        return self.change(torch.from_numpy(rows).to(self.device))


Rows = Tensor | Streamed


@dataclass(frozen=True)
class _Chain:
    """One change after the other."""

    first: Change
    second: Change

    def __call__(self, rows: Tensor) -> Tensor:
        return self.second(self.first(rows))


@dataclass(frozen=True)
class _Window:
    """The rows of some steps.

    Attributes:
        index: (steps, B) row numbers, a negative one where none is.
        numbers: (n,) all different row numbers of the steps, ascending.
        values: (n, F) these rows.
    """

    index: Tensor
    numbers: Tensor
    values: Tensor

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.values[torch.searchsorted(self.numbers, rows)]


def tile_rows(num_features: int) -> int:
    """Count the rows that are looked at together."""
    return max(1, _TILE // num_features)


def tiles(features: Rows, size: int | None = None) -> Generator[Tensor, None, None]:
    """Walk through all rows (N, F) in order, by tiles (T, F); the same ones wherever they are."""
    size = size or tile_rows(features.shape[1])
    if isinstance(features, Streamed):
        yield from features.tiles(size)
    else:
        yield from torch.split(features, size)


def raw_tiles(values: Rows, rows: NDArray[np.int64]) -> Generator[Tensor, None, None]:
    """Walk through some rows (n,), ascending, by tiles; what is on the disk is checked."""
    size = tile_rows(values.shape[1])
    if isinstance(values, Streamed):
        yield from values.only(rows).checked_tiles(size)
    else:
        for part in torch.split(torch.from_numpy(rows).to(values.device), size):
            yield values[part]


def chosen(values: Rows, rows: NDArray[np.int64], change: Change = as_stored) -> Rows:
    """Take some rows (n,), ascending, and change each: now, or when they are read."""
    if isinstance(values, Streamed):
        return values.only(rows).then(change)
    return gathered(values, rows, change)


def gathered(values: Rows, rows: NDArray[np.int64], function: Change) -> Tensor:
    """Put some raw rows (n,), ascending, through a function of (T, F); what is read is checked."""
    with closing(raw_tiles(values, rows)) as parts:
        return _filled(len(rows), map(function, parts))


def changed(features: Rows, change: Change) -> Rows:
    """Change every row: now, or when it is read."""
    return features.then(change) if isinstance(features, Streamed) else change(features)


def mapped(function: Change, features: Rows) -> Tensor:
    """Put all rows (N, F) through a function of (T, F), tile by tile, and keep what it gives."""
    with closing(tiles(features)) as parts:
        return _filled(len(features), map(function, parts))


def batches(features: Rows, index: Tensor) -> Generator[tuple[Tensor, ByNumber], None, None]:
    """Walk through batches, see `Streamed.windows`; close it where it is left before its end."""
    if isinstance(features, Streamed):
        yield from features.windows(index)
    else:
        for rows in index.to(features.device):
            yield rows, features


def refuse_streamed(features: Rows, look: Callable[..., object], who: str) -> None:
    """Refuse rows on the disk for a function that looks at all of them as one tensor.

    A selection's `start` and a loss's `survey` tell by the type of their first argument what they
    can look at: `Tensor`, or `Rows`.

    Args:
        features: (N, F).
        look: the function.
        who: "--select NAME" or "--loss NAME".

    Raises:
        InputError: the rows are on the disk, and the function takes a tensor only.
    """
    first = next(iter(signature(look).parameters))
    if isinstance(features, Streamed) and get_type_hints(look)[first] is Tensor:
        count, width = features.shape
        size = 4 * count * width / 1e9
        raise InputError(
            f"{who} looks at all {count:,} x {width:,} features at once, {size:.3g} GB, and they "
            f"stay on the disk: give more --memory, or use another {who.split()[0]}"
        )


def _filled(count: int, parts: Iterable[Tensor]) -> Tensor:
    """Lay parts one behind the other, (count, *), without holding all of them apart."""
    whole: Tensor | None = None
    at = 0
    for part in parts:
        if len(part) == count:
            return part
        whole = part.new_empty(count, *part.shape[1:]) if whole is None else whole
        whole[at : at + len(part)] = part
        at += len(part)
    assert whole is not None  # an epoch and a split have rows
    return whole


def _one_ahead(
    work: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[Result, None, None]:
    """Work on items in order, on the next one in a thread while the last result is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="rows") as pool:
        coming: Future[Result] | None = None
        for item in items:
            ready, coming = coming, pool.submit(work, item)
            if ready is not None:
                yield ready.result()
            ready = None
        if coming is not None:
            yield coming.result()
