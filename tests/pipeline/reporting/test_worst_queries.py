"""The worst queries, beside a search by plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.evaluate import search
from pipeline.reporting.worst_queries import worst_queries
from pipeline.training.protocol import Split

RECALL = (1, 2, 4)


def split_of(labels: list[int], is_among_themselves: bool) -> Split:
    true = np.array(labels, dtype=np.int64)
    half = len(labels) // 2
    rows = np.arange(len(labels))
    query, gallery = (rows, rows) if is_among_themselves else (rows[:half], rows[half:])
    return Split(
        protocol="class-disjoint",
        train=rows,
        query=query,
        gallery=gallery,
        own_rows=rows if is_among_themselves else None,
        given=true,
        true=true,
        classes=tuple(map(str, range(max(labels) + 1))),
    )


def plain(rows: torch.Tensor, roles: Split, query: int) -> tuple[float, int, list[int]]:
    """MAP@R, rank of the first right item and the ranking of one query."""
    others = [int(row) for row in roles.gallery if roles.own_rows is None or row != query]
    order = sorted(others, key=lambda row: (-float(rows[query] @ rows[row]), row))
    right = [bool(roles.true[row] == roles.true[query]) for row in order]
    total = sum(right)
    gains = [sum(right[: at + 1]) / (at + 1) for at in range(total) if right[at]]
    return sum(gains) / total, right.index(True) + 1, order


@pytest.mark.parametrize("is_among_themselves", [True, False])
def test_the_worst_are_those_that_plain_loops_find(is_among_themselves: bool):
    generator = torch.Generator().manual_seed(3)
    rows = functional.normalize(torch.randn(60, 5, generator=generator), dim=1)
    labels = torch.randint(0, 6, (60,), generator=generator).tolist()
    roles = split_of(labels, is_among_themselves)
    queries, gallery = rows[roles.query], rows[roles.gallery]
    measured = search(queries, gallery, roles, RECALL, ())
    found = worst_queries(queries, gallery, roles, measured, count=6, shown=3)
    expected = sorted(
        ((*plain(rows, roles, int(query))[:2], int(query)) for query in roles.query),
        key=lambda figures: (figures[0], -figures[1], figures[2]),
    )[:6]
    assert [query.row for query in found] == [row for *_, row in expected]
    for query, (map_at_r, first, row) in zip(found, expected, strict=True):
        assert query.map_at_r == pytest.approx(map_at_r)
        assert query.first_right == first
        ranking = plain(rows, roles, row)[2]
        assert [item.row for item in query.found] == ranking[:3]
        assert [item.is_right for item in query.found] == [
            labels[item] == labels[row] for item in ranking[:3]
        ]


def test_queries_without_a_right_item_are_no_bad_queries():
    rows = functional.normalize(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    roles = split_of([0, 0, 1, 2], True)
    measured = search(rows, rows, roles, RECALL, ())
    found = worst_queries(rows, rows, roles, measured)
    assert sorted(query.row for query in found) == [0, 1]
    assert all(len(query.found) == 3 for query in found)
