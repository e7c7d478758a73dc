"""The two forms of search: the same ranks, whatever is equal, copied, or not a number."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.measures import metrics, nearest, ranks, search
from pipeline.measures.copies import copies_in

OWN = torch.arange(120)


def signs() -> Tensor:
    """Cosines are multiples of 1/2 and very often equal."""
    return torch.randint(2, (120, 4), generator=torch.Generator().manual_seed(0)).float() - 0.5


def copies() -> Tensor:
    """Half of the rows are copies of others."""
    generator = torch.Generator().manual_seed(1)
    rows = functional.normalize(torch.randn(120, 16, generator=generator), dim=1)
    rows[::2] = rows[torch.randint(120, (60,), generator=generator)]
    return rows


def measure(rows: Tensor, labels: Tensor, **changes: int) -> metrics.PerQuery:
    return metrics.per_query(
        rows, labels, rows, labels, recall_at=(1, 7, 200), map_at=(3, 50), own_rows=OWN, **changes
    )


@pytest.mark.parametrize("make", [signs, copies])
def test_counting_and_selection_measure_the_same(make, monkeypatch):
    labels = torch.arange(120).sqrt().long()  # classes of 1 to 21 rows
    found = []
    for is_counted, form in ((True, "counting"), (False, "selection")):
        monkeypatch.setattr(search, "is_counted", lambda *_, answer=is_counted: answer)
        each = measure(make(), labels)
        assert each.forms == (form,)
        found.append(each)
    counted, selected = (each.values[each.has_right] for each in found)
    torch.testing.assert_close(counted, selected, rtol=0, atol=1e-12)


def test_a_small_class_is_counted_and_a_large_one_is_selected():
    labels = torch.arange(120) // 4
    labels[60:] = 99
    assert measure(signs(), labels, tile_bytes=100_000).forms == ("counting", "selection")


@pytest.mark.parametrize("make", [signs, copies])
def test_counting_on_the_cpu_equals_the_form_for_accelerators(make):
    rows = make()
    cosines = nearest.cosines(rows, rows, own_rows=OWN)
    cosines[3, 5:9] = torch.nan
    items = torch.randint(120, (120, 4), generator=torch.Generator().manual_seed(2))
    sizes = torch.full((120,), 4)
    found = [count(cosines, items, sizes) for count in (ranks._before_on_cpu, ranks._before)]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("num_classes", [40, 2], ids=["counting", "selection"])
def test_embeddings_that_are_not_numbers_are_no_perfect_ranking(num_classes):
    found = measure(torch.full((120, 4), torch.nan), torch.arange(120) % num_classes)
    assert found.average().map_at_r < 0.6


def test_cosines_of_copies_are_equal_and_the_own_row_is_gone():
    rows = copies()
    found = copies_in(rows)
    cosines = nearest.cosines(rows, rows, own_rows=OWN, copies=found)
    assert bool((cosines[OWN, OWN] == -torch.inf).all())
    for row, first in zip(found.rows.tolist(), found.firsts.tolist(), strict=True):
        others = (row != OWN) & (first != OWN)
        assert torch.equal(cosines[others, row], cosines[others, first])
