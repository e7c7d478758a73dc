"""Exact search in blocks, beside all cosines sorted one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.retrieval.exact import ExactSearch, Nearest


def by_brute_force(
    queries: Any, rows: Any, k: int, own_rows: list[int] | None = None
) -> tuple[list[list[int]], list[list[float]]]:
    """Compare all pairs in float64, rounded to six decimals; equal ones by row."""
    found, cosines = [], []
    for at, query in enumerate(queries.astype(float)):
        pairs = [
            (-round(float(sum(query * row)), 6), number)
            for number, row in enumerate(rows.astype(float))
            if own_rows is None or number != own_rows[at]
        ]
        near = sorted(pairs)[:k]
        found.append([number for _, number in near])
        cosines.append([-cosine for cosine, _ in near])
    return found, cosines


def in_blocks(search: ExactSearch, rows: Any, size: int) -> Nearest:
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        search.add(np.arange(start, start + len(block)), block)
    return search.result()


@pytest.mark.parametrize("size", [1, 7, 100, 300])
def test_the_nearest_are_those_of_brute_force_whatever_the_blocks(unit: Any, size: int) -> None:
    rows = unit(300, copies=80)
    queries = np.concatenate([rows[:10], unit(10, seed=1)])
    found = in_blocks(ExactSearch(queries, 9), rows, size)
    numbers, cosines = by_brute_force(queries, rows, 9)
    assert found.rows.tolist() == numbers
    assert found.cosines == pytest.approx(np.array(cosines), abs=2e-6)


def test_copies_rank_by_row_and_have_equal_cosines_across_blocks(unit: Any) -> None:
    rows = unit(500)
    rows[[3, 80, 200, 499]] = rows[44]
    found = in_blocks(ExactSearch(rows[44:45], 5), rows, 64)
    assert found.rows.tolist() == [[3, 44, 80, 200, 499]]
    assert set(found.cosines[0].tolist()) == {1.0}


def test_more_copies_than_neighbours_leave_the_lowest_rows(unit: Any) -> None:
    rows = np.repeat(unit(1), 1000, axis=0)
    found = in_blocks(ExactSearch(rows[:2], 4), rows, 128)
    assert found.rows.tolist() == [[0, 1, 2, 3]] * 2


def test_a_query_that_is_a_row_does_not_find_itself_but_its_copy(unit: Any) -> None:
    rows = unit(60)
    rows[50] = rows[4]
    own = [4, 50, 7]
    found = in_blocks(ExactSearch(rows[own], 6, own_rows=np.array(own)), rows, 16)
    assert found.rows.tolist() == by_brute_force(rows[own], rows, 6, own)[0]
    assert found.rows[:2, 0].tolist() == [50, 4]


def test_a_gallery_smaller_than_k_leaves_places_free(unit: Any) -> None:
    rows = unit(3)
    found = in_blocks(ExactSearch(rows, 5, own_rows=np.arange(3)), rows, 2)
    assert (found.rows[:, 2:] == -1).all()
    assert np.isneginf(found.cosines[:, 2:]).all()
    assert (found.rows[:, :2] >= 0).all()


def test_many_candidates_in_one_block_are_found_as_well(unit: Any) -> None:
    """Rows that come nearer and nearer: each is a candidate when it comes."""
    angles = np.linspace(np.pi / 2, 0, 2000)
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = in_blocks(ExactSearch(rows[-1:], 3), rows, 500)
    assert found.rows.tolist() == by_brute_force(rows[-1:], rows, 3)[0]
