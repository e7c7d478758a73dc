"""Whole epochs of batches: what each batch and each epoch holds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.program import sampling
from pipeline.program.sampling import ABSENT

# Sizes 9, 4, 1, 0, 3, 12, 2: multiples of K, remainders, classes smaller than K, a gap.
LABELS = torch.tensor([0] * 9 + [1] * 4 + [2] + [4] * 3 + [5] * 12 + [6] * 2)
LABELS = LABELS[torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(9))]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw_shuffle(labels: Tensor, source: torch.Generator) -> Tensor:
    return sampling.shuffle(labels, 8, source)


def draw_balanced(labels: Tensor, source: torch.Generator) -> Tensor:
    return sampling.balanced(labels, 8, source, rows_per_class=4)


both = pytest.mark.parametrize("draw", [draw_shuffle, draw_balanced])


def rows_in(steps: Tensor) -> list[int]:
    return steps[steps != ABSENT].unique().tolist()


@both
def test_every_row_is_shown_at_least_once_per_epoch(draw):
    for seed in range(5):
        assert rows_in(draw(LABELS, generator(seed))) == list(range(len(LABELS)))


@both
def test_another_draw_has_another_order(draw):
    source = generator()
    assert not torch.equal(draw(LABELS, source), draw(LABELS, source))


@both
def test_the_same_seed_has_the_same_order_whatever_the_global_generator_did(draw):
    torch.manual_seed(1)
    first = draw(LABELS, generator(3))
    torch.manual_seed(2)
    torch.rand(7)
    before = torch.get_rng_state()
    assert torch.equal(draw(LABELS, generator(3)), first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("batch_size", [1, 7, 8, 31, 32, 180])
def test_shuffle_fills_every_batch_and_shows_no_row_twice_in_one(batch_size):
    steps = sampling.shuffle(LABELS, batch_size, generator())
    size = min(batch_size, len(LABELS))
    assert steps.shape == (-(-len(LABELS) // size), size)
    for batch in steps:
        assert len(rows_in(batch)) == size


@pytest.mark.parametrize("rows_per_class", [1, 2, 4, 5])
def test_balanced_batches_are_groups_of_k_different_rows_of_one_class(rows_per_class):
    steps = sampling.balanced(LABELS, 12, generator(), rows_per_class=rows_per_class)
    sizes = torch.bincount(LABELS)
    for group in steps.view(-1, rows_per_class):
        rows = group[group != ABSENT]
        (of_class,) = LABELS[rows].unique().tolist()
        assert len(rows.unique()) == len(rows) == min(rows_per_class, int(sizes[of_class]))


def test_places_are_absent_only_for_classes_smaller_than_k():
    steps = sampling.balanced(LABELS, 12, generator(), rows_per_class=4)
    for group in steps.view(-1, 4):
        is_absent = group == ABSENT
        size = int(torch.bincount(LABELS)[LABELS[group[0]]])
        assert is_absent.any() == (size < 4)
        assert is_absent.tolist() == [place >= size for place in range(4)]


def test_an_epoch_has_one_group_for_every_k_rows_of_a_class():
    """Sizes 9, 4, 1, 3, 12, 2 by 4: 3 + 1 + 1 + 1 + 3 + 1 = 10 groups; in batches of 5 groups none
    is repeated."""
    steps = sampling.balanced(LABELS, 20, generator(), rows_per_class=4)
    assert steps.shape == (2, 20)
    groups = [tuple(sorted(group.tolist())) for group in steps.view(-1, 4)]
    assert len(set(groups)) == 10


@pytest.mark.parametrize(("batch_size", "groups"), [(4, 1), (11, 2), (40, 10), (400, 10)])
def test_a_balanced_batch_has_as_many_whole_groups_as_fit(batch_size, groups):
    steps = sampling.balanced(LABELS, batch_size, generator(), rows_per_class=4)
    assert steps.shape[1] == 4 * groups


def test_the_groups_of_a_class_are_spread_over_the_epoch():
    """Ten classes of 40 rows, batches of ten groups of 4: each class is once in each batch. In
    random order a batch would have 6.5 different classes on average."""
    labels = torch.arange(400) % 10
    steps = sampling.balanced(labels, 40, generator(), rows_per_class=4)
    for batch in labels[steps[:, ::4]]:
        assert batch.sort().values.tolist() == list(range(10))


def test_the_groups_of_a_class_change_from_epoch_to_epoch():
    source = generator()
    epochs = [sampling.balanced(LABELS, 12, source, rows_per_class=4) for _ in range(2)]
    first, second = ({frozenset(g.tolist()) for g in e.view(-1, 4)} for e in epochs)
    assert first != second


def test_only_the_first_copy_of_a_row_stays_in_a_batch():
    index = torch.tensor([[4, 2, 4, 4, 0, 2], [1, ABSENT, 3, ABSENT, 5, 1]])
    expected = [[4, 2, ABSENT, ABSENT, 0, ABSENT], [1, ABSENT, 3, ABSENT, 5, ABSENT]]
    assert sampling.without_copies(index).tolist() == expected
