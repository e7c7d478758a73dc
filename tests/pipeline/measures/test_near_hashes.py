"""Near hashes by bands, against a comparison of all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from cache.errors import InputError
from pipeline.measures.components import Components
from pipeline.measures.near_hashes import near_hashes, says_something


def near_and_far(distance: int, seed: int) -> np.ndarray:
    """Random hashes, and beside each some with 0 to `distance` + 2 bits flipped."""
    generator = np.random.default_rng(seed)
    bits = generator.integers(0, 2, (60, 64), np.uint8)
    copies = bits[generator.integers(0, 60, 200)]
    for row in copies:
        row[generator.permutation(64)[: generator.integers(0, distance + 3)]] ^= 1
    return np.packbits(np.concatenate([bits, copies]), axis=1)


def distances(hashes: np.ndarray) -> np.ndarray:
    bits = np.unpackbits(hashes, axis=1)
    return (bits[:, None] != bits[None]).sum(axis=2)


def first_rows(hashes: np.ndarray, distance: int, **options: int) -> list[int]:
    found = Components(len(hashes))
    for pairs in near_hashes(hashes, distance, **options):
        found.add(pairs)
    return found.first.tolist()


def by_all_pairs(hashes: np.ndarray, distance: int) -> list[int]:
    is_near = (distances(hashes) <= distance) & np.outer(*[says_something(hashes)] * 2)
    found = Components(len(hashes))
    found.add(np.argwhere(np.triu(is_near, 1)))
    return found.first.tolist()


@pytest.mark.parametrize("distance", range(5))
@pytest.mark.parametrize("seed", range(3))
def test_the_components_are_those_of_all_pairs(distance, seed):
    hashes = near_and_far(distance, seed)
    found = first_rows(hashes, distance)
    assert found == by_all_pairs(hashes, distance)
    assert 60 <= len(set(found)) < len(hashes)


@pytest.mark.parametrize("distance", range(5))
def test_every_pair_is_near_and_every_near_pair_of_different_hashes_is_found(distance):
    hashes = np.unique(near_and_far(distance, 0), axis=0)
    found = {tuple(pair) for pairs in near_hashes(hashes, distance) for pair in pairs.tolist()}
    expected = np.argwhere(np.triu(distances(hashes) <= distance, 1)).tolist()
    assert found == set(map(tuple, expected))


def test_each_of_many_equal_hashes_is_paired_with_the_first_alone():
    hashes = np.tile(np.packbits(np.tile([0, 1], 32)), (5000, 1))
    pairs = np.concatenate(list(near_hashes(hashes, 4)))
    assert pairs.tolist() == [[0, row] for row in range(1, 5000)]


@pytest.mark.parametrize("ones", [0, 1, 7, 8, 56, 57, 64])
def test_hashes_of_flat_pictures_say_nothing_and_are_paired_with_none(ones):
    bits = np.zeros((2, 64), np.uint8)
    bits[:, :ones] = 1
    hashes = np.packbits(bits, axis=1)
    is_flat = not 8 <= ones <= 56
    assert (~says_something(hashes)).tolist() == [is_flat] * 2
    assert first_rows(hashes, 4) == ([0, 1] if is_flat else [0, 0])


def test_a_crowded_bucket_costs_no_squares_and_loses_no_other_pair():
    generator = np.random.default_rng(0)
    crowd = np.tile(np.uint8(0b01010101), (1500, 8))
    crowd[:, 6:] = generator.integers(0, 256, (1500, 2))  # most agree in six of eight bytes
    hashes = np.concatenate([crowd, near_and_far(4, 1)])
    compared = sum(len(pairs) for pairs in near_hashes(hashes, 4, most=8))
    assert compared < 70 * 8 * len(hashes)
    limited, whole = (first_rows(hashes, 4, most=most) for most in (8, 5000))
    assert whole == by_all_pairs(hashes, 4)
    assert limited[1500:] == whole[1500:]


@pytest.mark.parametrize("distance", [-1, 5])
def test_a_distance_that_bands_cannot_find_is_refused(distance):
    with pytest.raises(InputError, match=rf"is {distance}, expected 0 to 4"):
        next(near_hashes(np.zeros((1, 8), np.uint8), distance))


def test_no_hashes_have_no_pairs():
    assert sum(len(pairs) for pairs in near_hashes(np.zeros((0, 8), np.uint8), 4)) == 0
