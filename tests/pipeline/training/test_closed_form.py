"""Runs whose head is computed or chosen: which labels are seen, and where rows may lie."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache import FeatureStore
from cache.errors import InputError
from cache.feature_rows import FeatureRows
from pipeline.auto import candidates
from pipeline.auto.choose import Choice
from pipeline.choices import catalogue
from pipeline.choices.settings import Settings
from pipeline.evaluate import UNTRAINED, evaluate_run
from pipeline.runs.record import Run
from pipeline.selection._state import keep_everything
from pipeline.train import train
from pipeline.training import closed_form, learn

FORMS = list(catalogue.entries("closed_forms"))
TINY = 20_000  # bytes, fewer than the store has


def labels_of(run: Run, column: str) -> torch.Tensor:
    return torch.tensor([int(name) for name in run.labels()[column].to_pylist()])


def spied(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The labels of all rows that selections, statistics and the choice are shown."""
    seen: list[torch.Tensor] = []

    def spy(module: Any, name: str, place: int) -> None:
        function = getattr(module, name)

        @functools.wraps(function)
        def wrapped(*given: Any, **options: Any) -> Any:
            found = given[place]
            if name == "gather":  # of the rows of one fold, where folds are tried
                found = found[0].labels
            seen.append(found)
            return function(*given, **options)

        monkeypatch.setattr(module, name, wrapped)

    for selection in ("none", "agreement"):
        spy(catalogue.find("selection", selection).load(), "start", 1)
    spy(closed_form, "gather", 1)
    spy(learn, "choose", 1)
    return seen


@pytest.mark.parametrize("loss", [*FORMS, "agreement", "auto"])
def test_noisy_labels_are_seen_and_never_the_right_ones(
    loss: str, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spied(monkeypatch)
    settings = Settings(loss=loss, noise="symmetric:0.5", dim=16)
    run = train(store, settings, tmp_path / "run", device="cpu")
    noisy, clean = labels_of(run, "label"), labels_of(run, "given_label")
    assert (noisy != clean).float().mean() == 0.5
    whole = [labels for labels in seen if len(labels) == len(noisy)]
    assert len(whole) >= 2
    assert all(torch.equal(labels, noisy) for labels in whole)
    if loss == "auto":
        assert len(whole) < len(seen)  # the folds' own, which are taken out of these


@pytest.mark.parametrize("loss", FORMS)
def test_a_head_from_the_disk_is_that_of_resident_rows_bit_for_bit(
    loss: str, store: FeatureStore, tmp_path: Path
) -> None:
    settings = Settings(loss=loss, dim=16, noise="symmetric:0.2")
    resident, streamed = (
        train(store, settings, tmp_path / str(memory), device="cpu", memory=memory)
        for memory in (None, TINY)
    )
    assert streamed.record["features"]["held"] == "streamed from disk"
    expected = resident.weights()
    assert expected.keys() == streamed.weights().keys()
    for name, tensor in streamed.weights().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize(
    ("changes", "who"),
    [
        ({"loss": "auto"}, "--loss auto"),
        ({"loss": "auto", "noise": "small-cluster:0.2"}, "--loss auto"),
        ({"loss": "agreement"}, "--select agreement"),
        ({"loss": "whiten", "selection": "agreement"}, "--select agreement"),
    ],
)
def test_rows_that_do_not_fit_are_refused_before_any_is_read(
    changes: dict[str, Any],
    who: str,
    store: FeatureStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("take", "chunks"):
        monkeypatch.setattr(FeatureRows, name, None)
    with pytest.raises(InputError) as refusal:
        train(store, Settings(**changes), tmp_path / "run", device="cpu", memory=TINY)
    text = str(refusal.value)
    assert text.startswith(f"{who} looks at all 192 x 24 features at once")
    assert "give more --memory" in text
    assert "\n" not in text
    assert list(tmp_path.iterdir()) == []


def test_auto_says_what_it_tried_and_is_that_run(store: FeatureStore, tmp_path: Path) -> None:
    auto = train(store, Settings(dim=16, budget=0.0), tmp_path / "auto", device="cpu")
    choice = auto.record["choice"]
    assert choice["chosen"] == choice["reference"]
    assert {each["recall_at_1"] for each in choice["tried"]} == {None}
    options = {f"loss.{name}": value for name, value in choice["options"].items()}
    same = Settings(
        loss=choice["loss"],
        selection=choice["selection"],
        transform=choice["transform"],
        options=options,
        dim=16,
    )
    by_hand = train(store, same, tmp_path / "by hand", device="cpu")
    assert by_hand.record["choice"] is None
    assert by_hand.record["transform"] == auto.record["transform"]
    for name, tensor in auto.weights().items():
        assert torch.equal(tensor, by_hand.weights()[name]), name
    np.testing.assert_array_equal(auto.labels()["weight"], by_hand.labels()["weight"])


def test_where_no_training_is_best_the_head_leaves_rows_as_they_are(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(raw: torch.Tensor, labels: torch.Tensor, *_: Any, **__: Any) -> Choice:
        return Choice(candidates.UNTRAINED, candidates.UNTRAINED, (), 0.0, keep_everything(labels))

    monkeypatch.setattr("pipeline.training.learn.choose", nothing)
    run = train(store, Settings(), tmp_path / "run", device="cpu")
    rows = evaluate_run(run, store, device="cpu").rows
    assert rows["run"] == rows[UNTRAINED]
    assert set(run.labels()["weight"].to_pylist()) == {1.0}
