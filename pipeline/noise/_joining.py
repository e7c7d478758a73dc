"""Which row each entry of a label list speaks of: by id or by path, never by chance of order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from cache.errors import InputError
from pipeline.noise._subject import Labels, Subject

Join = Literal["suffix", "name"]
_DOUBLE = -2


def entries_of_rows(
    keys: Sequence[str], subject: Subject, *, is_by_id: bool, join: Join, source: str
) -> Labels:
    """Find the entry of each row: (N,) int64, -1 where there is none.

    Args:
        keys: ids or paths of M entries.
        subject: N rows.
        is_by_id: whether the keys are ids.
        join: "suffix": one of both paths ends with the other, whole folders at a time, so a prefix
            such as /data may differ; "name": file names are equal.
        source: the list's name, for errors.

    Raises:
        InputError: two entries speak of one row, or a key could be several rows.
    """
    if is_by_id:
        found = _places(subject.ids, keys)
    elif join == "name":
        found = _places([_tidy(path).rpartition("/")[2] for path in subject.paths], _names(keys))
    else:
        found = _by_suffix([_tidy(path) for path in subject.paths], [_tidy(key) for key in keys])
    if (unclear := np.flatnonzero(found == _DOUBLE)).size:
        raise InputError(
            f"{keys[unclear[0]]!r} of {source} could be several rows: expected paths that end "
            "differently, or a list with the columns id and label"
        )
    known = np.flatnonzero(found >= 0)  # entries that have a row
    rows, counts = np.unique(found[known], return_counts=True)
    if (counts > 1).any():
        twice = subject.ids[rows[counts > 1][0]]
        raise InputError(f"{source} lists the row {twice!r} twice: expected each row once")
    result = np.full(len(subject.ids), -1, dtype=np.int64)
    result[found[known]] = known
    return result


def _places(names: Sequence[str], keys: Sequence[str]) -> Labels:
    """Find each key among names: (M,) place, -1 without one, -2 with several."""
    places = _index(enumerate(names))
    return np.array([places.get(key, -1) for key in keys], dtype=np.int64)


def _by_suffix(paths: Sequence[str], keys: Sequence[str]) -> Labels:
    whole = _index(enumerate(paths))
    tails = _index((row, tail) for row, path in enumerate(paths) for tail in _tails(path))
    found = []
    for key in keys:
        longer = next((whole[tail] for tail in _tails(key) if tail in whole), None)
        found.append(tails.get(key, -1) if longer is None else longer)
    return np.array(found, dtype=np.int64)


def _index(named: Iterator[tuple[int, str]] | enumerate[str]) -> dict[str, int]:
    places: dict[str, int] = {}
    for row, name in named:
        places[name] = _DOUBLE if name in places else row
    return places


def _tails(path: str) -> Iterator[str]:
    """Cut folders off the front, one after the other; the whole path first."""
    while path:
        yield path
        path = path.partition("/")[2]


def _tidy(path: str) -> str:
    return path.replace("\\", "/").removeprefix("./")


def _names(keys: Sequence[str]) -> list[str]:
    return [_tidy(key).rpartition("/")[2] for key in keys]
