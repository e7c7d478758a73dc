"""Pictures whose 64-bit difference hashes differ in a few bits, without comparing all pairs.

Two hashes that differ in at most d bits agree in all bits of at least 8 - d of 8 bands of 8 bits.
So for each choice of 8 - d bands the hashes are sorted by these bits, and only those that are equal
there are compared: N log N for each of the choices, of which there are 70 with d = 4.
(Norouzi, Punjani, Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012.)
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cache.errors import InputError
from pipeline.measures.components import Pairs

MOST_DISTANCE = 4  # beyond it the bits that have to agree are too few to sort by
_BANDS = 8
# Flat pictures, and smooth gradients, have nearly equal bits everywhere. Of 5,421 photos taken in
# shops the fewest had 13 of a kind.
_LEAST_BITS = 8
_MOST_IN_BUCKET = 256  # each hash is compared with so many after it that agree in the bands


def says_something(hashes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which hashes (N, 8) have at least eight ones and eight zeros: flat pictures do not."""
    ones = np.bitwise_count(_words(hashes))
    return (ones >= _LEAST_BITS) & (ones <= 64 - _LEAST_BITS)


def near_hashes(
    hashes: NDArray[np.uint8], distance: int, *, most: int = _MOST_IN_BUCKET
) -> Iterator[Pairs]:
    """Find pairs of hashes that differ in at most `distance` bits.

    Hashes that say nothing (see `says_something`) are left out. Of n equal hashes the first is
    paired with each of the others and stands for them, so pairs are enough for components and not
    all there are. A hash is compared with at most `most` others of a bucket: where more than that
    agree, pairs may be missed, and the cost stays linear.

    Args:
        hashes: (N, 8) uint8.
        distance: 0 to 4.
        most: how far to look in a bucket.

    Yields:
        (P, 2) int64 rows, lower first, P at most N; a pair may be yielded more than once.

    Raises:
        InputError: the distance is out of range.
    """
    if not 0 <= distance <= MOST_DISTANCE:
        raise InputError(f"the distance of hashes is {distance}, expected 0 to {MOST_DISTANCE}")
    rows = np.flatnonzero(says_something(hashes))
    words, first, group = np.unique(
        _words(hashes[rows]), return_index=True, return_inverse=True
    )  # the words ascend
    firsts = rows[first]  # (U,)
    copies = np.column_stack([firsts[group], rows])
    yield copies[copies[:, 0] != copies[:, 1]]
    if distance:
        for mask in _masks(distance):
            for left, right in _near_in_buckets(words, words & mask, distance, most):
                yield np.sort(np.column_stack([firsts[left], firsts[right]]), axis=1)


def _near_in_buckets(
    words: NDArray[np.uint64], keys: NDArray[np.uint64], distance: int, most: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Compare words (U,) whose keys (U,) are equal: each with the next, then the one after."""
    order = np.argsort(keys, kind="stable")
    keys, words = keys[order], words[order]
    places = np.arange(len(keys))
    for step in range(1, most + 1):
        places = places[places + step < len(keys)]
        places = places[keys[places] == keys[places + step]]
        if not len(places):
            return
        differing = np.bitwise_count(words[places] ^ words[places + step])
        near = places[differing <= distance]
        if len(near):
            yield order[near], order[near + step]


def _masks(distance: int) -> Iterator[np.uint64]:
    """Yield the bits of each choice of bands; a band's bits lie all over the picture.

    Bits beside each other would be equal at once in all pictures with a white margin.
    """
    bits = np.random.default_rng(0).permutation(64).reshape(_BANDS, -1)
    bands = [np.bitwise_or.reduce(np.uint64(1) << band.astype(np.uint64)) for band in bits]
    for chosen in combinations(bands, _BANDS - distance):
        yield np.bitwise_or.reduce(np.array(chosen))


def _words(hashes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """See hashes (N, 8) uint8 as numbers (N,)."""
    return np.ascontiguousarray(hashes).view(np.uint64).reshape(-1)
