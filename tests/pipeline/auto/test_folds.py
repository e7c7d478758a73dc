"""Folds: rows that fit, search and are searched, as the protocol has them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.auto.folds import FOLDS, MOST_ROWS, Fold, folds
from pipeline.training.protocol import NAMES, Name


def divided(protocol: Name, labels: Tensor, seed: int = 0) -> list[Fold]:
    return folds(protocol, labels, torch.Generator().manual_seed(seed))


def uneven(count: int = 300, num_classes: int = 10) -> Tensor:
    source = torch.Generator().manual_seed(0)
    return (num_classes * torch.rand(count, generator=source) ** 2).long()


@pytest.mark.parametrize("protocol", NAMES)
def test_every_row_is_held_out_once_and_never_fits_its_own_fold(protocol: Name) -> None:
    labels = uneven()
    found = divided(protocol, labels)
    assert len(found) == FOLDS
    held = torch.cat([fold.query for fold in found])
    assert held.sort().values.tolist() == list(range(300))
    for fold in found:
        assert sorted([*fold.fit.tolist(), *fold.query.tolist()]) == list(range(300))


def test_of_known_classes_every_fold_holds_a_third_and_searches_the_rest() -> None:
    labels = uneven()
    counts = labels.bincount()
    for fold in divided("query-gallery", labels):
        assert fold.gallery is not None
        assert torch.equal(fold.gallery, fold.fit)
        held = labels[fold.query].bincount(minlength=10)
        assert ((held - counts / FOLDS).abs() < 1).all()


def test_new_classes_are_held_out_whole_and_search_among_themselves() -> None:
    labels = uneven()
    for fold in divided("class-disjoint", labels):
        assert fold.gallery is None
        assert not set(labels[fold.fit].tolist()) & set(labels[fold.query].tolist())
        assert len(set(labels[fold.query].tolist())) in (3, 4)


@pytest.mark.parametrize("protocol", NAMES)
def test_seeds_divide_differently_and_one_seed_always_alike(protocol: Name) -> None:
    labels = uneven()
    one, again, other = (divided(protocol, labels, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a.query, b.query) for a, b in zip(one, again, strict=True))
    assert not all(torch.equal(a.query, b.query) for a, b in zip(one, other, strict=True))


def test_of_many_rows_every_class_gives_alike() -> None:
    """One class of 9,000 rows and 100 of 30: the small ones take part whole."""
    labels = torch.cat([torch.zeros(9000, dtype=torch.int64), 1 + torch.arange(3000) % 100])
    found = divided("query-gallery", labels)
    rows = torch.cat([fold.query for fold in found])
    assert len(rows) == len(rows.unique()) == MOST_ROWS
    counts = labels[rows].bincount()
    assert counts[1:].tolist() == [30] * 100
    for fold in found:
        assert fold.gallery is not None
        assert len(fold.fit) + len(fold.query) == MOST_ROWS
        assert not set(fold.fit.tolist()) & set(fold.query.tolist())


def test_of_many_rows_some_classes_take_part() -> None:
    labels = torch.arange(12000) % 400
    found = divided("class-disjoint", labels)
    rows = torch.cat([fold.query for fold in found])
    assert len(rows) == len(rows.unique()) == MOST_ROWS
    counts = labels[rows].bincount(minlength=400)
    assert int((counts == 30).sum()) == MOST_ROWS // 30
    assert int((counts > 0).sum()) == -(-MOST_ROWS // 30)


@pytest.mark.parametrize("protocol", NAMES)
def test_where_nothing_can_be_held_out_there_is_no_fold(protocol: Name) -> None:
    """Two rows of two classes, and more classes of one row than may take part."""
    few = divided(protocol, torch.arange(2))
    assert all(len(fold.fit) and len(fold.query) for fold in few)
    assert divided(protocol, torch.zeros(1, dtype=torch.int64)) == []
    assert divided(protocol, torch.zeros(30, dtype=torch.int64)) == []
    if protocol == "query-gallery":
        assert divided(protocol, torch.arange(9000)) == []
