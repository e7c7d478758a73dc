"""What every closed form promises. A new file in `pipeline/closed_forms` meets these by itself."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor

from cache.errors import InputError
from pipeline.choices import catalogue
from pipeline.choices.catalogue import Entry
from pipeline.choices.settings import Settings
from pipeline.closed_forms._statistics import Member, Statistics, gather
from pipeline.program.heads import embed
from pipeline.training.closed_form import head_of

N, FEATURES, CLASSES = 90, 12, 6
CPU = torch.device("cpu")
FORMS = list(catalogue.entries("closed_forms").values())
every_form = pytest.mark.parametrize("entry", FORMS, ids=lambda entry: entry.name)
# What the range of an option in words holds at its ends, and a number beyond each.
BEYOND = {"at least 0, at most 1": (-0.1, 1.1), "at least 0": (-0.1,), "above 0": (0.0,)}


def clouds(count: int = N, num_classes: int = CLASSES, width: int = FEATURES) -> Any:
    """Centred rows, labels and fractional weights."""
    source = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % num_classes
    centres = torch.randn(num_classes, width, generator=source)
    rows = centres[labels] + torch.randn(count, width, generator=source)
    return rows - rows.mean(dim=0), labels, torch.rand(count, generator=source)


def embedded(entry: Entry, rows: Tensor, *member: Tensor, dim: int = 512, **options: Any) -> Tensor:
    """The rows behind the head that is computed from them: (N, D)."""
    statistics = gather(rows, [Member(*member)], int(member[0].max()) + 1)
    settings = Settings(loss=entry.name, dim=dim, options=options).check()
    head = head_of(statistics, settings, CPU)
    assert all(tensor.isfinite().all() for tensor in head.values())
    return embed(head, rows)


def assert_same_cosines(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found @ found.T, expected @ expected.T, atol=1e-4, rtol=0)


@every_form
@pytest.mark.parametrize("dim", [1, 4, FEATURES, 512])
def test_the_weight_is_finite_and_as_wide_as_was_asked(entry: Entry, dim: int) -> None:
    rows, labels, weights = clouds()
    most = CLASSES - 1 if entry.name == "discriminant" else FEATURES
    found = embedded(entry, rows, labels, weights, dim=dim)
    assert found.shape == (N, min(dim, most))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(N))


@every_form
def test_names_of_classes_order_of_rows_and_scale_do_not_matter(entry: Entry) -> None:
    rows, labels, weights = clouds()
    expected = embedded(entry, rows, labels, weights)
    name = torch.tensor([7, 3, 0, 5, 1, 2])  # 4 and 6 name nothing
    assert_same_cosines(embedded(entry, rows, name[labels], weights), expected)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    found = embedded(entry, rows[order], labels[order], weights[order])
    assert_same_cosines(found, expected[order])
    for scale in (1e-3, 1e3):
        assert_same_cosines(embedded(entry, scale * rows, labels, weights), expected)


@every_form
def test_the_head_gives_rows_of_about_unit_norm(entry: Entry) -> None:
    rows, labels, weights = clouds()
    statistics = gather(rows, [Member(labels, weights)], CLASSES)
    head = head_of(statistics, Settings(loss=entry.name), CPU)
    assert float((rows @ head["weight"]).square().sum(dim=1).mean()) == pytest.approx(1, abs=1e-4)
    assert not head["bias"].any()


@every_form
def test_labels_of_rows_without_weight_do_not_matter(entry: Entry) -> None:
    rows, labels, weights = clouds()
    weights[::3] = 0
    other = torch.where(weights > 0, labels, 1)
    expected = embedded(entry, rows, labels, weights)
    assert_same_cosines(embedded(entry, rows, other, weights), expected)


def test_rows_without_weight_count_for_the_total_alone() -> None:
    rows, labels, weights = clouds()
    weights[60:] = 0
    found = gather(rows, [Member(labels, weights)], CLASSES)
    own = gather(rows[:60], [Member(labels[:60], weights[:60])], CLASSES)
    torch.testing.assert_close(found.within, own.within)
    centre = rows.mean(dim=0) - rows[:60].mean(dim=0)
    torch.testing.assert_close(found.means + centre, own.means, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.total, rows.T @ rows / N, atol=1e-5, rtol=1e-4)


def hostile() -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Rows, labels and weights with which something has no meaning."""
    rows, labels, weights = clouds()
    ones, nothing = torch.ones(N), torch.zeros(N)
    alone = torch.where(labels == 3, 0, labels)
    alone[5] = 3
    copies, constant = rows.clone(), rows.clone()
    copies[45:], constant[:, 2] = copies[:45], 0
    return {
        "a class of one row": (rows, alone, ones),
        "only classes of one row": (rows, torch.arange(N), ones),
        "equal rows": (torch.zeros_like(rows), labels, ones),
        "a constant feature": (constant, labels, ones),
        "no weight": (rows, labels, nothing),
        "a class without weight": (rows, labels, (labels != 1) * weights),
        "weight in one class alone": (rows, labels, (labels == 1) * weights),
        "copies in other classes": (copies, labels.roll(1), ones),
        "two rows": (rows[:2] - rows[:2].mean(dim=0), labels[:2], ones[:2]),
        "two rows of one class": (rows[:2] - rows[:2].mean(dim=0), 0 * labels[:2], ones[:2]),
        "fewer rows than features": (rows[:7] - rows[:7].mean(dim=0), labels[:7], ones[:7]),
        "more classes than features": (rows, torch.arange(N) // 3, weights),
        "class means that are equal": (
            torch.cat([rows[:45], -rows[:45]]),
            labels[:45].tile(2),
            ones,
        ),
    }


@every_form
@pytest.mark.parametrize("name", hostile())
@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
def test_hostile_rows_still_give_unit_rows(entry: Entry, name: str, shrinkage: float) -> None:
    rows, labels, weights = hostile()[name]
    found = embedded(entry, rows, labels, weights, **{"loss.shrinkage": shrinkage})
    assert found.isfinite().all()
    assert found.shape[1] >= 1
    if name not in ("equal rows", "class means that are equal"):  # there may be nothing to see
        torch.testing.assert_close(found.norm(dim=1), torch.ones(len(rows)))


@every_form
def test_few_rows_of_many_features_need_no_shrinkage(entry: Entry) -> None:
    """The covariance is singular, and one direction is so strong that rounding outweighs the
    floor: its factor is found all the same."""
    rows, labels, weights = clouds(60, width=400)
    rows[:, 0] *= 100
    for shrinkage in (0.0, 1e-6):
        found = embedded(entry, rows, labels, weights, **{"loss.shrinkage": shrinkage})
        torch.testing.assert_close(found.norm(dim=1), torch.ones(60))


@every_form
def test_options_out_of_range_are_refused_in_one_line(entry: Entry) -> None:
    assert entry.options
    for name, option in entry.options.items():
        assert not option.is_required
        for value in (*BEYOND[option.bounds], float("nan"), float("inf"), "much"):
            with pytest.raises(InputError) as refusal:
                Settings(loss=entry.name, options={f"loss.{name}": value}).check()
            assert "\n" not in str(refusal.value)
            assert option.bounds in str(refusal.value)
    with pytest.raises(InputError, match=r"unknown option of \S+ 'margin'"):
        Settings(loss=entry.name, options={"loss.margin": 0.1}).check()


@every_form
def test_it_sees_statistics_alone(entry: Entry) -> None:
    """Neither rows nor labels, right or wrong, and a first line says what it is."""
    first, second, *rest = inspect.signature(entry.load().fit, eval_str=True).parameters.values()
    assert (first.annotation, second.annotation) == (Statistics, int)
    assert all(each.kind is each.KEYWORD_ONLY for each in rest)
    assert entry.summary.endswith(".")


@every_form
def test_the_command_computes_a_head(entry: Entry, home: Any, dml: Any) -> None:
    trained = dml(f"train --loss {entry.name} --dim 8 --json").json()
    assert trained["run"] == f"dml-out/runs/{entry.name}"
    assert trained["transform"] == "power:0.5,centre"
    found = dml("eval --json").json()
    if entry.name != "whiten":  # which cannot know that the loud features say nothing
        assert found["trained"]["recall@1"] > found["untrained"]["recall@1"]
