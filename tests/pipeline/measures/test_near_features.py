"""Near features in tiles and by FAISS, against a comparison of all pairs in float64."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.measures.approximate import ApproximateSearch
from pipeline.measures.near_features import (
    closest_in_group,
    exact_pairs,
    is_quick,
    pair_cosines,
)


def near_and_far(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    """Half of the rows lie near one of the others, some of them exactly on it or in its line."""
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((rows, dim))
    copied = generator.integers(0, rows // 2, rows - rows // 2)
    values[rows // 2 :] = values[copied]
    values[rows // 2 :] += generator.choice([0, 0.05, 0.2], (len(copied), 1)) * (
        generator.standard_normal((len(copied), dim))
    )
    values[-1] = 2 * values[0]
    values[-2] = 0
    return values


def all_cosines(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return unit @ unit.T


def by_all_pairs(values: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    pairs = np.argwhere(np.triu(all_cosines(values) >= threshold, 1))
    return set(map(tuple, pairs.tolist()))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("threshold", [0.3, 0.9, 0.97])
@pytest.mark.parametrize("tile_bytes", [1, 3000, 2**26])
def test_tiles_find_all_pairs(dtype, threshold, tile_bytes):
    values = near_and_far(150, 32).astype(dtype)
    done = []
    blocks = exact_pairs(
        values, threshold, tile_bytes=tile_bytes, progress=lambda *now: done.append(now)
    )
    found = [tuple(pair) for pairs in blocks for pair in pairs.tolist()]
    assert set(found) == by_all_pairs(values, threshold)
    assert len(set(found)) == len(found) > 10
    assert done[-1] == (150, 150)


def test_faiss_finds_nearly_all_pairs_and_nothing_else():
    values = near_and_far(3000, 16).astype(np.float16)
    search = ApproximateSearch(values)
    blocks = search.pairs(0.97)
    found = {tuple(pair) for pairs in blocks for pair in pairs.tolist()}
    expected = by_all_pairs(values, 0.97)
    assert len(expected) > 1000
    assert found <= by_all_pairs(values, 0.97 - 1e-5)
    assert len(found & expected) >= 0.98 * len(expected)


def test_recall_is_what_the_index_found_of_the_exact_neighbours_of_a_sample():
    values = near_and_far(3000, 16).astype(np.float32)
    recall = ApproximateSearch(values).recall(0.97, rows=500)
    assert recall.rows == 500
    assert 300 < recall.pairs < 3000
    assert 0.95 * recall.pairs <= recall.found <= recall.pairs
    assert 0.5 < recall.nearest <= 1
    every = ApproximateSearch(values).recall(0.97, rows=10**6)
    assert every.rows == 3000
    assert every.pairs == 2 * len(by_all_pairs(values, 0.97))


def test_recall_without_any_neighbour_still_tells_of_the_nearest():
    values = np.random.default_rng(0).standard_normal((500, 64)).astype(np.float32)
    recall = ApproximateSearch(values).recall(0.99)
    assert (recall.pairs, recall.found) == (0, 0)
    assert recall.nearest > 0.5


def test_cosines_of_pairs_are_those_of_all_pairs():
    values = near_and_far(100, 8).astype(np.float32)
    pairs = np.random.default_rng(1).integers(0, 100, (5000, 2))
    expected = all_cosines(values)[pairs[:, 0], pairs[:, 1]]
    np.testing.assert_allclose(pair_cosines(values, pairs), expected, atol=1e-6)


@pytest.mark.parametrize("landmarks", [4096, 40])
def test_a_group_s_closest_rows_and_smallest_cosine_are_those_of_all_pairs(landmarks):
    values = near_and_far(100, 8).astype(np.float32)
    rows = np.arange(0, 80, 2)
    marks = rows % 3
    expected = all_cosines(values[rows])
    closest, cosines, smallest = closest_in_group(values, rows, landmarks=landmarks)
    assert smallest == pytest.approx(expected.min(), abs=1e-6)
    np.fill_diagonal(expected, -np.inf)
    np.testing.assert_allclose(cosines, expected.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(pair_cosines(values, np.c_[rows, closest]), cosines, atol=1e-6)
    closest, cosines, _ = closest_in_group(values, rows, marks, landmarks=landmarks)
    expected[marks[:, None] == marks] = -np.inf
    np.testing.assert_allclose(cosines, expected.max(axis=1), atol=1e-6)
    assert (closest % 3 != marks).all()


def test_large_groups_are_compared_with_some_of_their_rows():
    values = near_and_far(100, 8).astype(np.float32)
    closest, cosines, smallest = closest_in_group(values, np.arange(100), landmarks=10)
    chosen = np.linspace(0, 99, 10).astype(int)
    expected = all_cosines(values)[:, chosen]
    assert smallest == pytest.approx(expected.min(), abs=1e-6)
    expected[chosen, np.arange(10)] = -np.inf
    np.testing.assert_allclose(cosines, expected.max(axis=1), atol=1e-6)
    assert np.isin(closest, chosen).all()


def test_where_no_row_differs_there_is_no_closest():
    values = near_and_far(10, 8).astype(np.float32)
    closest, cosines, _ = closest_in_group(values, np.arange(3), np.zeros(3, np.int64))
    assert closest.tolist() == [-1] * 3
    assert np.isneginf(cosines).all()


def test_a_hundred_thousand_rows_of_2048_features_are_compared_exactly_and_a_million_not():
    assert is_quick(100_000, 2048 - 48)
    assert not is_quick(1_000_000, 256)
