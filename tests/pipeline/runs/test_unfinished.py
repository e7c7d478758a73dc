"""A training that was interrupted goes on where it stopped, and never looks like a finished run."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cache import FeatureStore
from pipeline.choices.settings import Settings
from pipeline.runs.record import Run
from pipeline.runs.unfinished import Unfinished
from pipeline.train import train

SETTINGS = Settings(loss="prism", dim=8, epochs=6, noise="symmetric:0.3")


def interrupt_at(epoch: int):
    """A progress that is interrupted as with Ctrl-C when so many epochs are done."""

    def progress(done: int, total: int) -> None:
        if done == epoch:
            raise KeyboardInterrupt

    return progress


def interrupted(store: FeatureStore, path: Path, settings: Settings = SETTINGS) -> Path:
    """Train until epoch 4 and stop; returns where the snapshot is."""
    with pytest.raises(KeyboardInterrupt):
        train(store, settings, path, progress=interrupt_at(4), snapshot_seconds=0)
    return path.parent / f".{path.name}.unfinished"


def assert_same_run(one: Run, other: Run) -> None:
    for name, tensor in one.weights().items():
        assert torch.equal(tensor, other.weights()[name]), name
    assert one.labels() == other.labels()
    assert one.record["history"] == other.record["history"]


def test_the_run_is_the_one_that_would_have_come_without_the_interruption(
    store: FeatureStore, tmp_path: Path
):
    interrupted(store, tmp_path / "a")
    seen: list[int] = []
    resumed = train(store, SETTINGS, tmp_path / "a", progress=lambda done, total: seen.append(done))
    assert resumed.record["resumed_at_epoch"] == seen[0] == 4
    assert_same_run(resumed, train(store, SETTINGS, tmp_path / "b"))


def test_an_interruption_leaves_a_snapshot_but_no_run_and_the_run_no_snapshot(
    store: FeatureStore, tmp_path: Path
):
    snapshot = interrupted(store, tmp_path / "a")
    assert os.listdir(tmp_path) == [snapshot.name]
    train(store, SETTINGS, tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]


def test_other_settings_begin_anew(store: FeatureStore, tmp_path: Path):
    interrupted(store, tmp_path / "a")
    run = train(store, SETTINGS.replaced(seed=1), tmp_path / "a")
    assert run.record["resumed_at_epoch"] == 0
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_snapshot_is_no_snapshot(
    store: FeatureStore, tmp_path: Path, damage: bytes | None
):
    snapshot = interrupted(store, tmp_path / "a")
    whole = snapshot.read_bytes()
    snapshot.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert train(store, SETTINGS, tmp_path / "a").record["resumed_at_epoch"] == 0


def test_without_room_for_a_snapshot_the_training_ends_all_the_same(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.runs.unfinished.save_file", full)
    train(store, SETTINGS, tmp_path / "a", snapshot_seconds=0)
    assert os.listdir(tmp_path) == ["a"]


def test_snapshots_are_not_taken_more_often_than_asked(tmp_path: Path):
    taken: list[int] = []

    def snapshot() -> dict[str, torch.Tensor]:
        taken.append(1)
        return {"x": torch.from_numpy(np.zeros(1))}

    often = Unfinished(tmp_path / "a", {}, seconds=1e6)
    often.save(snapshot)
    assert not taken
    Unfinished(tmp_path / "a", {}, seconds=0).save(snapshot)
    assert taken == [1]
