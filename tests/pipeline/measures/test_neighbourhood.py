"""Nearest rows, compared with a sort of all cosines."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.measures.copies import first_copies
from pipeline.measures.neighbourhood import find


def clouds(count, width=24):
    """Unit rows about 30 centres, every tenth one a copy of the row before it."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((30, width))
    rows = centres[generator.integers(0, 30, count)] + generator.standard_normal((count, width))
    rows[9::10] = rows[8::10][: len(rows[9::10])]
    return functional.normalize(torch.from_numpy(rows).float(), dim=1)


def by_sorting(rows, first, count):
    """All different rows but the row itself and its copies, by falling cosine."""
    found = []
    for row, own in zip(rows, first.tolist(), strict=True):
        others = [each for each in first.unique().tolist() if each != own]
        cosines = rows[others] @ row
        found.append([others[each] for each in cosines.argsort(descending=True)[:count]])
    return found


def test_exact_search_finds_the_nearest_different_rows():
    rows = clouds(120)
    first = first_copies(rows)
    assert find(rows, first, 7).rows.tolist() == by_sorting(rows, first, 7)


def test_an_inverted_file_finds_nearly_the_same_rows_and_never_the_row_itself_or_a_copy():
    rows = clouds(3000)
    first = first_copies(rows)
    exact, near = find(rows, first, 10), find(rows, first, 10, exact_rows=0)
    shared = (exact.rows[:, :, None] == near.rows[:, None, :]).any(dim=2).float().mean()
    assert shared > 0.9
    assert not bool((first[near.rows] == first[:, None]).any())
    assert bool((near.cosines.diff(dim=1) <= 0).all())
    assert torch.equal(near.rows[9], near.rows[8])
    cosines = (rows[near.rows] * rows[:, None]).sum(dim=2)
    assert torch.allclose(near.cosines, cosines, atol=2e-3)  # half precision


@pytest.mark.parametrize("exact_rows", [None, 0])
def test_of_fewer_rows_than_neighbours_all_are_found(exact_rows):
    rows = clouds(40)
    first = first_copies(rows)
    near = find(rows, first, 50, exact_rows=exact_rows).rows
    assert near.shape == (40, len(first.unique()) - 1)
    for row, own in zip(near, first.tolist(), strict=True):
        assert sorted([*row.tolist(), own]) == first.unique().tolist()
