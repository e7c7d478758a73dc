"""Choosing: the reference unless something is clearly better, no training among the candidates."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from pipeline.auto.candidates import REFERENCES, UNTRAINED, Candidate, candidates, milder
from pipeline.auto.choose import Choice, choice_facts, choose
from pipeline.choices.settings import Settings
from pipeline.training.protocol import NAMES, Name

AMPLE = Settings(budget=600.0, dim=12)


def clouds(count: int = 120, num_classes: int = 12, width: int = 10) -> tuple[Tensor, Tensor]:
    """Classes apart along some features, and louder ones that say nothing."""
    source = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % num_classes
    rows = torch.randn(count, width, generator=source)
    rows[:, :4] += 2 * torch.randn(num_classes, 4, generator=source)[labels]
    rows[:, 6:] *= 4
    return rows, labels


def fanned(num_classes: int = 12, of_each: int = 15) -> tuple[Tensor, Tensor]:
    """Classes one beside the other like the ribs of a fan, seen from afar: rows (4, t, noise).

    The angle to the first axis tells all of them apart. Less the mean, all that is left of it is
    on which side a row lies, and every closed form takes the mean away.
    """
    source = torch.Generator().manual_seed(0)
    labels = torch.arange(num_classes * of_each) % num_classes
    t = torch.linspace(-3, 3, num_classes)[labels] + 0.01 * torch.randn(
        len(labels), generator=source
    )
    noise = 0.003 * torch.randn(len(labels), 3, generator=source)
    return torch.cat([torch.full_like(t, 4)[:, None], t[:, None], noise], dim=1), labels


def chosen(rows: Tensor, labels: Tensor, protocol: Name, settings: Settings = AMPLE) -> Choice:
    return choose(rows, labels, int(labels.max()) + 1, protocol, settings)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two candidates, which are always tried, and every eighth of the others."""

    def few_of(name: Name) -> list[Candidate]:
        return [*candidates(name)[:2], *candidates(name)[2::8]]

    monkeypatch.setattr("pipeline.auto.choose.candidates", few_of)


@pytest.mark.parametrize("protocol", NAMES)
def test_every_candidate_can_be_trained_and_has_a_name_of_its_own(protocol: Name) -> None:
    found = candidates(protocol)
    assert found[:2] == [REFERENCES[protocol], UNTRAINED]
    assert len({each.name for each in found}) == len(found)
    for each in found:
        settings = each.settings(Settings(dim=9, seed=4, noise="symmetric:0.2"))
        assert (settings.dim, settings.seed, settings.noise) == (9, 4, "symmetric:0.2")
        assert settings.recipe.form == (None if each == UNTRAINED else each.loss)
        assert settings.recipe.transform == each.transform
        assert settings.options_of("loss").items() >= dict(each.options).items()


@pytest.mark.parametrize("protocol", NAMES)
def test_without_any_budget_it_is_the_reference_untried(protocol: Name) -> None:
    found = chosen(*clouds(), protocol, AMPLE.replaced(budget=0.0))
    assert found.candidate == found.reference == REFERENCES[protocol]
    assert all(each[1:] == (None, None, None) for each in found.tried)
    assert len(found.tried) == len(candidates(protocol))


@pytest.mark.parametrize("protocol", NAMES)
def test_with_an_ample_budget_all_are_tried(protocol: Name) -> None:
    ticks: list[tuple[int, int]] = []
    rows, labels = clouds()
    found = choose(rows, labels, 12, protocol, AMPLE, progress=lambda *tick: ticks.append(tick))
    assert [each.name for each in found.tried] == [each.name for each in candidates(protocol)]
    for each in found.tried:
        assert each.recall_at_1 is not None
        assert 0 <= each.recall_at_1 <= 1
    assert found.tried[0].evidence == 0
    assert ticks == sorted(ticks)
    assert ticks[-1] == (len(found.tried),) * 2
    (taken,) = [each for each in found.tried if each.name == found.candidate.name]
    assert taken.evidence is not None
    assert found.candidate in (found.reference, milder(found.reference)) or taken.evidence > 2
    json.dumps(choice_facts(found), allow_nan=False)


@pytest.mark.parametrize("protocol", NAMES)
@pytest.mark.usefixtures("few")
def test_the_seed_decides_everything(protocol: Name) -> None:
    rows, labels = clouds()
    facts = [
        {**choice_facts(chosen(rows, labels, protocol, AMPLE.replaced(seed=seed))), "seconds": None}
        for seed in (0, 0, 1)
    ]
    assert facts[0] == facts[1] != facts[2]


@pytest.mark.parametrize("protocol", NAMES)
def test_reference_and_no_training_are_tried_within_any_budget(protocol: Name) -> None:
    found = chosen(*clouds(), protocol, AMPLE.replaced(budget=1e-6))
    tried = [each.name for each in found.tried if each.map_at_r is not None]
    assert tried == [REFERENCES[protocol].name, UNTRAINED.name]


def test_few_rows_with_wrong_labels_train_nothing() -> None:
    rows, labels = clouds(count=24)
    source = torch.Generator().manual_seed(1)
    wrong = torch.randint(12, (24,), generator=source)
    labels = torch.where(torch.rand(24, generator=source) < 0.6, wrong, labels)
    assert chosen(rows, labels, "query-gallery").candidate == UNTRAINED


def test_no_training_wins_where_every_head_destroys() -> None:
    found = chosen(*fanned(), "query-gallery")
    assert found.candidate == UNTRAINED
    recall = {each.name: each.recall_at_1 or 0 for each in found.tried}
    assert recall.pop(UNTRAINED.name) > max(recall.values()) + 0.05


@pytest.mark.parametrize("protocol", NAMES)
@pytest.mark.usefixtures("few")
def test_hostile_rows_and_labels_choose_no_training(protocol: Name) -> None:
    rows, labels = clouds()
    cases = [
        (torch.ones_like(rows), labels),  # all rows equal
        (rows, torch.arange(120)),  # nothing to find
        (rows[:2], torch.arange(2)),
        (rows[:9], 0 * labels[:9]),
        (rows[:5], torch.tensor([0, 0, 0, 0, 1])),
    ]
    for given in cases:
        found = chosen(*given, protocol)
        assert found.candidate == UNTRAINED
        json.dumps(choice_facts(found), allow_nan=False)


@pytest.mark.usefixtures("few")
def test_features_of_any_float_type_are_taken() -> None:
    rows, labels = clouds()
    found = chosen(rows.half(), labels, "query-gallery")
    assert all(each.recall_at_1 is not None for each in found.tried)
