"""Components of links that come in blocks, against a search along the links."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.measures.components import Components


def by_search(num_rows: int, pairs: list[tuple[int, int]]) -> list[int]:
    """The lowest row that can be reached from each row."""
    near: dict[int, set[int]] = {row: {row} for row in range(num_rows)}
    for left, right in pairs:
        near[left].add(right)
        near[right].add(left)
    lowest = []
    for row in range(num_rows):
        reached, waiting = {row}, [row]
        while waiting:
            new = near[waiting.pop()] - reached
            reached |= new
            waiting += new
        lowest.append(min(reached))
    return lowest


@pytest.mark.parametrize("num_links", [0, 1, 20, 45, 90])
@pytest.mark.parametrize("block", [1, 7, 100])
def test_each_row_knows_the_lowest_row_that_it_is_linked_with(num_links, block):
    generator = np.random.default_rng(num_links)
    pairs = generator.integers(0, 80, (num_links, 2))  # also twice, and of a row with itself
    found = Components(80)
    for start in range(0, num_links, block):
        found.add(pairs[start : start + block])
    expected = by_search(80, [tuple(pair) for pair in pairs.tolist()])
    assert found.first.tolist() == expected
    groups = {lowest: [] for lowest in expected}
    for row, lowest in enumerate(expected):
        groups[lowest].append(row)
    assert [rows.tolist() for rows in found.groups()] == [
        rows for rows in groups.values() if len(rows) > 1
    ]
    again = Components(80)
    again.add(found.links())
    assert again.first.tolist() == expected


def test_a_chain_is_one_component_whatever_its_order():
    order = np.random.default_rng(0).permutation(999)
    found = Components(1000)
    found.add(np.column_stack([order, order + 1]))
    assert len(found.groups()) == 1
    assert found.is_linked().all()


def test_pairs_within_a_component_are_not_new():
    found = Components(5)
    found.add(np.array([[0, 1], [1, 2]]))
    assert found.new(np.array([[0, 2], [2, 3], [4, 4]])).tolist() == [[2, 3]]
    assert found.is_linked().tolist() == [True, True, True, False, False]


def test_rows_without_links_have_no_groups():
    assert Components(3).groups() == []
    assert Components(0).groups() == []
