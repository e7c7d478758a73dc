"""Runs that begin at a closed form: trained, resumed, compared, exported and refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from cache import FeatureStore
from cache.errors import InputError
from pipeline.choices.grid import canonical, plan
from pipeline.choices.settings import Settings
from pipeline.evaluate import embed, evaluate_run
from pipeline.export import export
from pipeline.probe import probe
from pipeline.runs.record import Run
from pipeline.train import train

from ..ablations import run as ablation

STARTED = Settings(loss="proxy-anchor", start="reliability", epochs=2, dim=8, lr=3e-4)
STILL = {"lr": 1e-9, "proxy_lr": 1e-9, "weight_decay": 0.0, "epochs": 1}
TINY = 20_000  # bytes, fewer than the store has


def test_a_head_that_hardly_moves_embeds_as_the_closed_form_does(
    store: FeatureStore, tmp_path: Path
) -> None:
    rows = torch.from_numpy(store.read().values)
    common = STARTED.replaced(selection="prism", noise="symmetric:0.3", transform="centre", seed=2)
    form = common.replaced(loss="reliability", start="random")
    ours, expected = (
        embed(train(store, each, tmp_path / each.loss, device="cpu"), rows)
        for each in (common.replaced(**STILL), form)
    )
    torch.testing.assert_close(ours @ ours.T, expected @ expected.T, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("loss", ["proxy-anchor", "prism"])
def test_an_interrupted_run_ends_as_one_that_was_not(
    store: FeatureStore, tmp_path: Path, loss: str
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    settings, path = STARTED.replaced(loss=loss, epochs=4), tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        train(store, settings, path, device="cpu", snapshot_seconds=0, progress=interrupt)
    ours = train(store, settings, path, device="cpu")
    expected = train(store, settings, tmp_path / "whole", device="cpu")
    assert ours.record["resumed_at_epoch"] == 2
    for name, value in expected.weights().items():
        assert torch.equal(ours.weights()[name], value), name


def test_a_run_from_the_disk_is_that_of_resident_rows(store: FeatureStore, tmp_path: Path) -> None:
    resident, streamed = (
        train(store, STARTED, tmp_path / str(memory), device="cpu", memory=memory)
        for memory in (None, TINY)
    )
    assert streamed.record["features"]["held"] == "streamed from disk"
    for name, value in resident.weights().items():
        assert torch.equal(streamed.weights()[name], value), name


def test_an_ablation_trains_several_starts_as_one_program_and_measures_what_a_run_measures(
    store: FeatureStore, tmp_path: Path, counted: list[list[int]]
) -> None:
    changes = ["start=random,reliability"]
    lists = {"common": STARTED.replaced(start="random"), "loss": "proxy-anchor", "seeds": 2}
    found = ablation(store, tmp_path / "cells", changes=changes, **lists)
    assert counted == [[0, 1, 0, 1]]
    ours = {row["options"]: row for row in found.rows if row["seed"] == 0}
    expected = evaluate_run(train(store, STARTED, tmp_path / "run", device="cpu"), store)
    assert ours["start=reliability"]["map@r"] == pytest.approx(expected.rows["run"].map_at_r)
    assert ours["start=reliability"]["map@r"] != ours["start=random"]["map@r"]


def test_cells_of_a_random_start_keep_their_keys() -> None:
    assert "start" not in canonical(Settings(loss="prism"))
    assert canonical(STARTED)["start"] == "reliability"
    cells = plan(Settings(), loss="prism", changes=["start=random,pca"])
    assert [cell.options for cell in cells] == ["start=random", "start=pca"]


def test_runs_of_versions_without_starts_still_load(store: FeatureStore, tmp_path: Path) -> None:
    run = train(store, STARTED.replaced(start="random"), tmp_path / "old", device="cpu")
    config = run.path / "config.json"
    values = json.loads(config.read_text())
    del values["start"]
    config.write_text(json.dumps(values))
    assert Run.open(run.path).settings == run.settings


def test_an_export_knows_no_start(store: FeatureStore, tmp_path: Path) -> None:
    run = train(store, STARTED, tmp_path / "run", device="cpu")
    done = export(run, store, tmp_path / "out", format="safetensors", figures=False)
    assert done.card["check"]["min_cosine"] > 0.999999


def test_a_probe_begins_where_the_run_began(store: FeatureStore) -> None:
    noisy = STARTED.replaced(noise="symmetric:0.3")
    first, drawn = (
        probe(store, each, points=2, batches=2, device="cpu")[0]
        for each in (noisy, noisy.replaced(start="random"))
    )
    assert first.wrong_pull != drawn.wrong_pull


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start": "reliabilty"}, "unknown start 'reliabilty': did you mean 'reliability'?"),
        ({"start": "agreement"}, "unknown start 'agreement': "),
        ({"start": "rand"}, "did you mean 'random'?"),
        ({"loss": "auto"}, "--start reliability does nothing with --loss auto, which trains no"),
        ({"loss": "none"}, "--start reliability does nothing with --loss none, which trains no"),
        ({"loss": "whiten"}, "--start reliability does nothing with --loss whiten, which trains"),
        ({"loss": "soft-orthogonal"}, "means of classes and loss.start=orthogonal elsewhere"),
        ({"options": {"loss.start": "kaiming"}}, "loss.start=kaiming elsewhere: leave --start out"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        STARTED.replaced(**changes).check()
    assert "\n" not in str(caught.value)


def test_a_random_start_goes_with_everything() -> None:
    Settings(loss="soft-orthogonal").check()
    Settings(loss="whiten", start="random").check()
    STARTED.replaced(loss="soft-orthogonal", options={"loss.start": "random"}).check()


def test_the_command_takes_a_start_and_refuses_a_wrong_one(home: Path, dml: Any) -> None:
    words = "train --loss proxy-anchor --epochs 1 --dim 8 --run mine"
    assert dml(f"{words} --start pca").code == 0
    assert Run.open(home / "mine").settings.start == "pca"
    refused = dml("train --loss proxy-anchor --start pcaa")
    assert (refused.code, refused.err) == (2, "dml: unknown start 'pcaa': did you mean 'pca'?\n")
