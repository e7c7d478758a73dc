"""Runs with other heads, dropout and noise: trained, resumed, compared, exported and refused."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dml as api
from cache import FeatureStore
from cache.errors import InputError
from pipeline.choices.grid import canonical, plan
from pipeline.choices.settings import Settings
from pipeline.evaluate import embed, evaluate_run
from pipeline.export import export
from pipeline.program import heads
from pipeline.runs.record import Run
from pipeline.train import train
from pipeline.transforms.transform import Transform

from ..ablations import run as ablation

PLAIN = Settings(loss="proxy-anchor", epochs=2, dim=8)
ALL = PLAIN.replaced(head="residual", hidden=6, dropout=0.3, feature_noise=0.2)
KINDS = ["linear", "residual", "mlp"]
TINY = 20_000  # bytes, fewer than the store has


@pytest.fixture(scope="module", params=KINDS)
def run(request: Any, store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of each kind of head, behind a transform with all steps."""
    hidden = {} if request.param == "linear" else {"hidden": 6}
    settings = PLAIN.replaced(head=request.param, transform="power:0.5,centre,pca:12", **hidden)
    return train(store, settings, tmp_path_factory.mktemp("runs") / request.param, device="cpu")


def same_weights(ours: Run, expected: Run) -> bool:
    own, others = ours.weights(), expected.weights()
    return own.keys() == others.keys() and all(torch.equal(own[each], others[each]) for each in own)


def test_a_run_embeds_what_its_file_says(run: Run, store: FeatureStore) -> None:
    rows, tensors = torch.from_numpy(store.read().values), run.weights()
    x = Transform.restored(tensors)(rows)
    head = {name.partition(".")[2]: v for name, v in tensors.items() if name.startswith("head.")}
    expected = torch.nn.functional.normalize(heads.project(head, x), dim=1)
    torch.testing.assert_close(embed(run, rows), expected, atol=1e-6, rtol=0)
    assert ("hidden_weight" in head) == (run.settings.head != "linear")
    assert ("residual" in head) == (run.settings.head == "residual")


def test_a_file_of_each_kind_and_its_program_give_the_run_s_embeddings(
    run: Run, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = store.read().values[:9]
    expected = embed(run, torch.from_numpy(features)).numpy()
    for kind in ("torchscript", "safetensors"):
        done = export(run, store, tmp_path / kind, format=kind, figures=False)
        assert done.card["check"]["min_cosine"] > 0.999999
        assert f"{run.settings.head} head" in done.card["preprocessing"]["inside"]
    monkeypatch.chdir(done.folder)
    np.save("features.npy", features)
    (program,) = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), flags=re.S)
    monkeypatch.setattr("sys.argv", ["embed.py", "features.npy"])
    exec(compile(program, "embed.py", "exec"), {})
    np.testing.assert_allclose(np.load("embeddings.npy"), expected, atol=1e-6)
    told = done.card["model"]["details"]["use"]
    named = [name for name in heads.NAMES if f"head.{name}" in run.weights()]
    assert all(re.search(rf"\b{name}\b", told) for name in named), told


@pytest.mark.slow
@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="the extra onnx is not installed")
def test_an_onnx_file_gives_the_run_s_embeddings(
    run: Run, store: FeatureStore, tmp_path: Path
) -> None:
    done = export(run, store, tmp_path / "out", format="onnx", figures=False)
    assert done.card["check"]["min_cosine"] > 0.999999


def test_a_residual_head_begins_at_a_closed_form(store: FeatureStore, tmp_path: Path) -> None:
    rows = torch.from_numpy(store.read().values)
    still = {"lr": 1e-9, "proxy_lr": 1e-9, "weight_decay": 0.0, "epochs": 1}
    common = ALL.replaced(transform="centre", start="whiten", **still)
    form = PLAIN.replaced(loss="whiten", transform="centre")
    ours, expected = (
        embed(train(store, each, tmp_path / each.loss, device="cpu"), rows)
        for each in (common, form)
    )
    torch.testing.assert_close(ours @ ours.T, expected @ expected.T, atol=1e-4, rtol=1e-4)


def test_rows_on_the_disk_and_an_interruption_change_nothing(
    store: FeatureStore, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    whole = train(store, ALL, tmp_path / "whole", device="cpu")
    streamed = train(store, ALL, tmp_path / "streamed", device="cpu", memory=TINY)
    assert streamed.record["features"]["held"] == "streamed from disk"
    again = tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        train(store, ALL, again, device="cpu", snapshot_seconds=0, progress=interrupt)
    resumed = train(store, ALL, again, device="cpu")
    assert resumed.record["resumed_at_epoch"] == 1
    assert same_weights(streamed, whole)
    assert same_weights(resumed, whole)


def test_an_ablation_trains_several_strengths_as_one_program(
    store: FeatureStore, tmp_path: Path, counted: list[list[int]]
) -> None:
    changes = ["head=linear,mlp", "dropout=0,0.3"]
    lists = {"common": PLAIN.replaced(epochs=1), "loss": "proxy-anchor", "seeds": 1, "noise": "0"}
    found = ablation(store, tmp_path / "cells", changes=changes, **lists)
    assert counted == [[0, 0], [0, 0]]
    ours = {row["options"]: row["map@r"] for row in found.rows if row["options"]}
    assert len(set(ours.values())) == 4
    settings = lists["common"].replaced(head="mlp", dropout=0.3)
    expected = evaluate_run(train(store, settings, tmp_path / "run", device="cpu"), store)
    assert ours["head=mlp dropout=0.3"] == pytest.approx(expected.rows["run"].map_at_r)


def test_cells_of_versions_that_knew_one_head_are_still_found() -> None:
    news = {"head", "hidden", "dropout", "feature_noise"}
    assert not news & canonical(PLAIN).keys()
    assert news <= canonical(ALL).keys()
    assert len(plan(PLAIN, loss="prism", changes=["head=linear,residual,mlp"])) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"head": "deep"}, "head is 'deep': expected 'linear' or 'residual' or 'mlp'"),
        ({"hidden": 0}, "hidden is 0: expected a whole number at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0: expected a number at least 0, below 1"),
        ({"feature_noise": -0.1}, "feature_noise is -0.1: expected a number at least 0"),
        ({"hidden": 64}, "hidden does nothing with a linear head, which has no hidden layer: "),
        ({"loss": "auto", "head": "mlp"}, "head does nothing with --loss auto, which trains no"),
        ({"loss": "none", "dropout": 0.1}, "dropout does nothing with --loss none, which trains"),
        ({"loss": "metric", "feature_noise": 0.1}, "feature_noise does nothing with --loss metric"),
        ({"head": "mlp", "start": "pca"}, "--start pca begins a linear map, and --head mlp has"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        PLAIN.replaced(**changes).check()
    assert "\n" not in str(caught.value)


def test_the_command_and_python_take_a_head_and_refuse_idle_words(home: Path, dml: Any) -> None:
    words = "train --loss proxy-anchor --epochs 1 --dim 8"
    given = "--head residual --hidden 6 --dropout 0.1 --feature-noise 0.2"
    assert dml(f"{words} {given} --run mine").code == 0
    same: dict[str, Any] = {"head": "residual", "hidden": 6, "dropout": 0.1, "feature_noise": 0.2}
    other = api.train("features.zarr", "proxy-anchor", epochs=1, dim=8, path="other", **same)
    assert same_weights(Run.open(home / "mine"), Run.open(Path(other.path)))
    refused = dml(f"{words} --hidden 512")
    assert refused.code == 2
    assert refused.err.startswith("dml: hidden does nothing with a linear head")
    assert dml("train --head linear").err.startswith("dml: head does nothing with --loss auto")
