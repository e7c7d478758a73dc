"""The memory of an evaluation: what a tile may take, and that the rest grows with N, not N x N."""

from __future__ import annotations

import pytest
import torch

from pipeline.measures import metrics, nearest

from ...allocations import Largest

TILE_BYTES, DIM = 2**20, 8


def largest(num_rows: int, *, huge: bool) -> tuple[int, str]:
    """The most bytes of one tensor when N rows search each other, half of them of one class."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(num_rows, DIM, generator=generator), dim=1)
    rows[1] = rows[0]  # a copy, so that the costlier way is taken
    labels = torch.arange(num_rows) // 5
    if huge:
        labels[::2] = num_rows
    own = torch.arange(num_rows)
    with Largest() as seen:
        metrics.evaluate(
            rows,
            labels,
            rows,
            labels,
            recall_at=(1, 50),
            map_at=(10,),
            own_rows=own,
            tile_bytes=TILE_BYTES,
        )
    return seen.bytes, seen.operation


@pytest.mark.parametrize("huge", [False, True], ids=["small-classes", "huge-class"])
def test_no_tensor_is_larger_than_a_tile_or_the_embeddings_as_integers(huge):
    for num_rows in (1500, 3000):
        found, operation = largest(num_rows, huge=huge)
        assert found <= max(TILE_BYTES, 8 * num_rows * DIM), operation
        assert found < num_rows**2  # a quarter of a matrix of all cosines


@pytest.mark.parametrize("huge", [False, True], ids=["small-classes", "huge-class"])
def test_twice_the_rows_make_the_largest_tensor_at_most_twice_as_large(huge):
    found, operation = largest(3000, huge=huge)
    assert found <= 2.05 * largest(1500, huge=huge)[0], operation


def test_a_matrix_of_all_cosines_would_be_noticed():
    rows = torch.randn(1000, DIM)
    with Largest() as seen:
        nearest.top_k(nearest.cosines(rows, rows), 1)
    assert seen.bytes >= 4 * 1000**2


def test_tiles_take_every_query_once_and_those_with_most_right_items_first():
    num_right = torch.tensor([3, 900, 3, 10, 3])
    found = list(nearest.tiles(num_right, lambda most: 10 * most, 45))
    assert [queries.tolist() for queries, _ in found] == [[1], [3], [0], [2], [4]]
    found = list(nearest.tiles(num_right, lambda most: 10 * most, 9_000))
    assert [queries.tolist() for queries, _ in found] == [[1], [3, 0, 2, 4]]
    assert [most for _, most in found] == [900, 10]


def test_a_query_that_does_not_fit_makes_a_tile_of_its_own():
    found = list(nearest.tiles(torch.tensor([5, 5, 5]), lambda _: 1000, 1))
    assert [queries.tolist() for queries, _ in found] == [[0], [1], [2]]
