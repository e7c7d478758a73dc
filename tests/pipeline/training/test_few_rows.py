"""Fewer rows than features: heads are computed in the span of the rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.choices import catalogue
from pipeline.choices.assembly import method_of, schedule_of
from pipeline.choices.settings import Settings
from pipeline.closed_forms._statistics import gather
from pipeline.program.learner import Task, begin
from pipeline.selection._state import keep_everything
from pipeline.training.closed_form import head_of, members_of, statistics_of
from pipeline.training.starting import start_of

FORMS = list(catalogue.entries("closed_forms"))
ROWS, WIDTH, CLASSES = 24, 40, 4


def clouds() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(ROWS) % CLASSES
    centres = torch.randn(CLASSES, WIDTH, generator=generator)
    rows = centres[labels] + 0.7 * torch.randn(ROWS, WIDTH, generator=generator)
    return rows - rows.mean(dim=0), labels


def cosines(weight: Tensor, rows: Tensor) -> Tensor:
    unit = functional.normalize(rows @ weight, dim=1)
    return unit @ unit.T


@pytest.mark.parametrize("name", FORMS)
def test_the_head_takes_all_features(name: str) -> None:
    rows, labels = clouds()
    settings = Settings(loss=name, dim=6)
    statistics = statistics_of(rows, labels, keep_everything(labels), CLASSES)
    assert statistics.total.shape == (ROWS, ROWS)
    head = head_of(statistics, settings, torch.device("cpu"))
    assert head["weight"].shape[0] == WIDTH
    assert head["weight"].isfinite().all()


@pytest.mark.parametrize("name", FORMS)
def test_turning_the_features_changes_no_cosine(name: str) -> None:
    rows, labels = clouds()
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(1))).Q
    settings, state = Settings(loss=name, dim=6), keep_everything(labels)
    found = [
        cosines(
            head_of(statistics_of(each, labels, state, CLASSES), settings, rows.device)["weight"],
            each,
        )
        for each in (rows, rows @ turn)
    ]
    torch.testing.assert_close(*found, atol=2e-4, rtol=0)


def test_in_its_span_a_row_keeps_its_place() -> None:
    """With the shrinkage in proportion, span and features give one within-class whitening."""
    rows, labels = clouds()
    state, device = keep_everything(labels), torch.device("cpu")
    share, dim = 0.4, 5
    of_span = Settings(loss="within-class-whiten", dim=dim, options={"loss.shrinkage": share})
    # tr(W)/N in the span is F/N of tr(W)/F: the same target is a larger share of the features'.
    ratio = share / (1 - share) * WIDTH / ROWS
    alike = {"loss.shrinkage": ratio / (1 + ratio)}
    of_all = Settings(loss="within-class-whiten", dim=dim, options=alike)
    found = [
        cosines(head_of(statistics, settings, device)["weight"], rows)
        for statistics, settings in (
            (statistics_of(rows, labels, state, CLASSES), of_span),
            (gather(rows, members_of(labels, state), CLASSES), of_all),
        )
    ]
    torch.testing.assert_close(*found, atol=1e-3, rtol=0)


def test_a_trained_head_may_begin_there() -> None:
    rows, labels = clouds()
    settings = Settings(loss="normalized-softmax", start="reliability", dim=6)
    plan = method_of(settings), schedule_of(settings), settings.seeds, start_of(settings)
    learner = begin(rows, Task(labels, CLASSES, *plan))
    assert learner.head["weight"].shape == (WIDTH, 6)
