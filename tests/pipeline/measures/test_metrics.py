"""Retrieval metrics by hand, and what they must not depend on."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.measures import metrics, nearest
from pipeline.measures.metrics import Retrieval

near = pytest.approx


def signs(rows: int, seed: int) -> Tensor:
    """Unit vectors of four entries +-1/2: their cosines are exact and often equal."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, (rows, 4), generator=generator).float() - 0.5


def among_themselves(rows: Tensor, labels: Tensor, *recall_at: int) -> Retrieval:
    own = torch.arange(len(labels))
    return metrics.evaluate(rows, labels, rows, labels, recall_at=recall_at, own_rows=own)


def ranked(*is_right: int, map_at: tuple[int, ...] = ()) -> Retrieval:
    """One query of class 1 whose gallery is right or wrong in this order of similarity."""
    cosines = torch.linspace(0.9, 0.1, len(is_right))
    gallery = torch.stack([cosines, (1 - cosines**2).sqrt()], dim=1)
    query = torch.tensor([[1.0, 0.0]])
    labels = torch.tensor(is_right)
    return metrics.evaluate(
        query, torch.tensor([1]), gallery, labels, recall_at=(1, 2, 4), map_at=map_at
    )


def test_six_items_by_hand():
    """Right, wrong, right, right, wrong, wrong: R = 3.

    R-precision: 2 of the first 3. MAP@R: (1/1 + 0 + 2/3) / 3 = 5/9; rank 4 lies beyond R.
    """
    found = ranked(1, 0, 1, 1, 0, 0)
    assert found.recall == {1: 1, 2: 1, 4: 1}
    assert found.precision_at_1 == 1
    assert found.r_precision == near(2 / 3, abs=1e-12)
    assert found.map_at_r == near(5 / 9, abs=1e-12)


def test_six_items_with_a_late_hit_by_hand():
    """Wrong, wrong, right, wrong, wrong, right: R = 2, nothing within R; found within 4, not 2."""
    found = ranked(0, 0, 1, 0, 0, 1)
    assert found.recall == {1: 0, 2: 0, 4: 1}
    assert found.r_precision == found.map_at_r == found.precision_at_1 == 0


def test_a_hit_at_rank_two_of_two_by_hand():
    """Wrong, right, right: R = 2. R-precision 1/2; MAP@R (0 + 1/2) / 2 = 1/4."""
    found = ranked(0, 1, 1)
    assert (found.r_precision, found.map_at_r) == (0.5, 0.25)


def test_map_at_k_by_hand():
    """Right, wrong, right, right, wrong, wrong: R = 3; precisions 1, 2/3, 3/4 at right ranks.

    MAP@1: 1 / 1. MAP@2: 1 / 2. MAP@4 and all above: (1 + 2/3 + 3/4) / 3.
    """
    found = ranked(1, 0, 1, 1, 0, 0, map_at=(1, 2, 4, 6, 10**30))
    every = (1 + 2 / 3 + 3 / 4) / 3
    assert found.map_at == near({1: 1, 2: 1 / 2, 4: every, 6: every, 10**30: every}, abs=1e-12)


def test_a_perfect_ranking_scores_one_everywhere():
    found = among_themselves(torch.eye(3).repeat(4, 1), torch.arange(3).repeat(4), 1, 3)
    assert found == Retrieval({1: 1, 3: 1}, 1, 1, 1, num_queries=12, lone_queries=0)


def test_a_copy_of_a_query_is_found_and_the_query_itself_is_not():
    """Rows 0 and 1 are copies of one class: each finds the other. Rows 2 and 3 are copies of two
    classes: each finds the other first, which is wrong, and never itself. Rows 4 and 5 look the
    other way, at cosine 0 to four rows: row 4 finds row 0, row 5 too, which is wrong."""
    rows = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1]])
    found = among_themselves(rows, torch.tensor([0, 0, 1, 2, 1, 2]), 1)
    assert found.num_queries == 6
    assert found.recall[1] == near(2 / 6)
    assert nearest.top_k(nearest.cosines(rows, rows, own_rows=torch.arange(6)), 1)[
        :, 0
    ].tolist() == [1, 0, 3, 2, 0, 0]


def test_equal_cosines_rank_by_row_number_also_where_the_list_is_cut():
    gallery = torch.tensor([[0.0, 1]] + [[1.0, 0]] * 40 + [[-1.0, 0]])
    query = torch.tensor([[1.0, 0]])
    for k in (1, 3, 39, 40, 41, 42):
        expected = [*range(1, 41), 0, 41][:k]
        assert nearest.top_k(nearest.cosines(query, gallery), k)[0].tolist() == expected


def test_the_tie_rule_is_not_the_optimistic_one():
    """A wrong row ties with the right one and has the lower number: no hit at 1. Counting only rows
    strictly above the best right one would call it a hit."""
    gallery, query = torch.tensor([[1.0, 0], [1, 0]]), torch.tensor([[1.0, 0]])
    asked = torch.tensor([7])
    assert (
        metrics.evaluate(query, asked, gallery, torch.tensor([3, 7]), recall_at=(1,)).recall[1] == 0
    )
    assert (
        metrics.evaluate(query, asked, gallery, torch.tensor([7, 3]), recall_at=(1,)).recall[1] == 1
    )


def test_a_class_of_one_item_is_left_out_and_counted():
    rows = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    found = among_themselves(rows, torch.tensor([0, 0, 5]), 1)
    assert (found.num_queries, found.lone_queries) == (2, 1)
    assert found.recall[1] == found.map_at_r == 1


def test_a_query_whose_class_the_gallery_lacks_is_left_out_and_counted():
    rows = torch.tensor([[1.0, 0], [0, 1]])
    for missing in (-3, 4, 99):
        asked = torch.tensor([2, missing])
        found = metrics.evaluate(rows, asked, rows, torch.tensor([2, 5]), recall_at=(1,))
        assert (found.num_queries, found.lone_queries) == (1, 1)
        assert found.recall[1] == 1


def test_without_any_answerable_query_the_averages_are_not_numbers():
    found = among_themselves(torch.eye(3), torch.arange(3), 1)
    assert (found.num_queries, found.lone_queries) == (0, 3)
    assert math.isnan(found.recall[1])
    assert math.isnan(found.map_at_r)


def test_a_k_beyond_the_gallery_means_all_of_it():
    rows, labels = signs(10, 0), torch.arange(10) % 3
    found = among_themselves(rows, labels, 1, 9, 10, 10**30)
    assert found.recall[9] == found.recall[10] == found.recall[10**30] == 1


def test_labels_beyond_float32_stay_apart():
    """2^24 and 2^24 + 1 are one number in float32."""
    rows = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    big = 2**24 + torch.tensor([0, 1, 0, 1])
    assert among_themselves(rows, big, 1).recall[1] == 0
    assert among_themselves(rows, big - 2**24, 1).recall[1] == 0
    assert among_themselves(rows, 2**40 + torch.tensor([0, 0, 1, 1]), 1).recall[1] == 1


def with_copies(rows: int) -> Tensor:
    """Random unit vectors, a third of them exact copies of others: their cosines get rounded."""
    generator = torch.Generator().manual_seed(rows)
    vectors = functional.normalize(torch.randn(rows, 16, generator=generator), dim=1)
    vectors[::3] = vectors[torch.randint(rows, (len(vectors[::3]),), generator=generator)]
    return vectors


@pytest.mark.parametrize("tile_bytes", [1, 1_000, 5_000, 10_000, 2**20])
@pytest.mark.parametrize("rows", [signs(50, 1), with_copies(50)], ids=["ties", "copies"])
def test_the_size_of_the_tiles_does_not_matter(tile_bytes, rows):
    """One row needs 450 bytes for its cosines and 64 for each neighbour: from 1 to all 50 rows."""
    labels = torch.arange(50).sqrt().long()  # classes of 1 to 14 rows: of different depths
    own = torch.arange(50)
    found = [
        metrics.evaluate(
            rows, labels, rows, labels, recall_at=(1, 5), map_at=(3,), own_rows=own, tile_bytes=size
        )
        for size in (tile_bytes, 2**28)
    ]
    assert found[0] == found[1]


def test_the_order_of_the_rows_does_not_matter_where_no_cosines_are_equal():
    generator = torch.Generator().manual_seed(2)
    rows = functional.normalize(torch.randn(60, 8, generator=generator), dim=1)
    labels = torch.arange(60) % 7
    whole = among_themselves(rows, labels, 1, 5)
    order = torch.randperm(60, generator=generator)
    shuffled = among_themselves(rows[order], labels[order], 1, 5)
    assert shuffled.recall == near(whole.recall, abs=1e-12)
    assert shuffled.map_at_r == near(whole.map_at_r, abs=1e-12)
    assert shuffled.r_precision == near(whole.r_precision, abs=1e-12)


def test_half_precision_features_are_compared_in_float32():
    """In float16 the two cosines are equal (2049 and 2048 round to one number)."""
    query = torch.tensor([[1.0, 1.0]]).half()
    gallery = torch.tensor([[2048.0, 0], [2048.0, 1]]).half()
    found = metrics.evaluate(
        query, torch.tensor([1]), gallery, torch.tensor([0, 1]), recall_at=(1,)
    )
    assert found.recall[1] == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_an_accelerator_measures_the_same_as_the_cpu():
    rows, labels, own = signs(50, 3), torch.arange(50).sqrt().long(), torch.arange(50)
    found = []
    for device in ("cpu", "cuda"):
        there, known, itself = (each.to(device) for each in (rows, labels, own))
        found.append(
            metrics.evaluate(
                there, known, there, known, recall_at=(1, 5), map_at=(3,), own_rows=itself
            )
        )
    assert found[0].shares() == near(found[1].shares(), abs=1e-12)
