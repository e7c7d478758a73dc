"""What held-out rows may find: nothing that a head could have been praised for moving wrongly."""

from __future__ import annotations

import torch

from pipeline.auto.folds import folds
from pipeline.auto.trials import Trials, trusted
from pipeline.choices.settings import Settings
from pipeline.program.learner import generator
from pipeline.selection._state import keep_everything


def trials(labels: torch.Tensor, weights: torch.Tensor) -> Trials:
    known = keep_everything(labels)._replace(weights=weights)
    raw = torch.rand(len(labels), 5, generator=torch.Generator().manual_seed(0))
    return Trials(raw, labels, 4, Settings(), {"agreement": known})


def test_a_row_with_a_doubtful_label_answers_no_query_but_is_computed_with() -> None:
    labels = torch.arange(24) % 4
    weights = torch.ones(24)
    weights[:6] = 0.49
    divided = folds("query-gallery", labels, generator(0, "folds"))
    found = trusted(trials(labels, weights), divided)
    for before, after in zip(divided, found, strict=True):
        assert after.gallery is not None
        assert before.gallery is not None
        assert after.gallery.tolist() == [row for row in before.gallery.tolist() if row >= 6]
        assert after.fit.equal(before.fit)
        assert after.query.equal(before.query)


def test_queries_that_search_among_each_other_all_stay() -> None:
    labels = torch.arange(24) % 4
    divided = folds("class-disjoint", labels, generator(0, "folds"))
    assert trusted(trials(labels, torch.zeros(24)), divided) == divided


def test_where_no_row_is_trusted_all_of_them_stay() -> None:
    labels = torch.arange(24) % 4
    divided = folds("query-gallery", labels, generator(0, "folds"))
    assert trusted(trials(labels, torch.zeros(24)), divided) == divided
