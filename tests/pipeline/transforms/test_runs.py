"""Runs behind a transform: saved, loaded, streamed, measured, compared and exported with it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cache import FeatureStore
from pipeline.ablation.room import runs_at_once
from pipeline.ablation.trial import Ground
from pipeline.choices.settings import Settings
from pipeline.evaluate import embed, evaluate_run
from pipeline.export import export
from pipeline.probe import probe
from pipeline.retrieval.space import space_of
from pipeline.runs.record import Run
from pipeline.train import train
from pipeline.transforms.fitting import fit
from pipeline.transforms.transform import Transform

from ..ablations import run as ablation

CHAIN = "power:0.5,standardise,whiten:0.2,pca:10"
SETTINGS = Settings(loss="proxy-anchor", epochs=3, dim=8, batch_size=48, transform=CHAIN)
TINY = 20_000  # bytes, fewer than the store has


@pytest.fixture(scope="module")
def run(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(store, SETTINGS, tmp_path_factory.mktemp("runs") / "mine", device="cpu")


def naive(run: Run, features: np.ndarray) -> np.ndarray:
    """Embed row by row, value by value, in float64."""
    tensors = {name: tensor.double().numpy() for name, tensor in run.weights().items()}
    rows = []
    for row in features.astype(np.float64):
        raised = [np.sign(x) * abs(x) ** tensors["power"] for x in row]
        parts = zip(raised, tensors["mean"], tensors["scale"], strict=True)
        scaled = [(x - mean) / scale for x, mean, scale in parts]
        columns = tensors["matrix"].T
        inputs = [sum(m * x for m, x in zip(c, scaled, strict=True)) for c in columns]
        columns = zip(tensors["head.weight"].T, tensors["head.bias"], strict=True)
        values = [sum(w * x for w, x in zip(c, inputs, strict=True)) + b for c, b in columns]
        rows.append(np.array(values) / np.linalg.norm(values))
    return np.array(rows)


def test_a_run_keeps_its_transform_and_embeds_by_it(run: Run, store: FeatureStore) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in run.weights().items()}
    transform = {"power": (), "mean": (24,), "scale": (24,), "matrix": (24, 10)}
    assert shapes.items() >= {**transform, "head.weight": (10, 8)}.items()
    assert run.record["transform"] == CHAIN
    values = store.read().values
    found = embed(run, torch.from_numpy(values[:7])).numpy()
    np.testing.assert_allclose(found, naive(run, values[:7]), atol=1e-5)
    assert evaluate_run(run, store, device="cpu").rows["mine"].recall[1] > 0.1


def test_the_transform_is_that_of_the_training_rows(run: Run, store: FeatureStore) -> None:
    features = store.read()
    rows = torch.from_numpy(features.values[np.array(features.rows["split"]) == "train"])
    expected = fit(CHAIN, lambda: [rows])
    assert len(rows) == 192
    torch.testing.assert_close(
        Transform.restored(run.weights()).tensors(), expected.tensors(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"validation": "rows"},
        {"transform": "centre,whiten:ledoit-wolf", "loss": "prism"},
        {"transform": "power:0.3,centre", "loss": "multi-similarity"},
        {"transform": "centre,pca:5", "loss": "none", "selection": "prism"},
    ],
)
def test_a_run_from_the_disk_is_that_of_resident_rows_bit_for_bit(
    store: FeatureStore, tmp_path: Path, changes: dict[str, Any]
) -> None:
    settings = SETTINGS.replaced(**changes)
    resident, streamed = (
        train(store, settings, tmp_path / str(memory), device="cpu", memory=memory)
        for memory in (None, TINY)
    )
    assert streamed.record["features"]["held"] == "streamed from disk"
    ours, expected = streamed.weights(), resident.weights()
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(ours[name], value), name
    assert streamed.record["history"] == resident.record["history"]


def test_memory_is_counted_with_the_features_that_are_left(run: Run, store: FeatureStore) -> None:
    stored, rows, fitting = 288 * 24 * 4, 2 * 192 * 10 * 4, 4 * 24 * 24 * 8
    assert run.record["features"]["needed_bytes"] == stored + rows + fitting
    features = store.read()
    ground = Ground.prepare(features, [SETTINGS], recall_at=(1,), device="cpu")
    parameters = 4 * (8 * (10 + 1) + 12 * 8)  # head and proxies
    one = 4 * parameters + 16 * 192 + 16  # with gradient, two moments and four counters at most
    assert runs_at_once(ground, SETTINGS, 3 * one) == 3


def test_runs_that_were_saved_with_mean_and_scale_alone_still_load(
    store: FeatureStore, tmp_path: Path
) -> None:
    run = train(store, SETTINGS.replaced(transform=None), tmp_path / "old", device="cpu")
    assert {"power", "matrix"}.isdisjoint(run.weights())
    rows = torch.from_numpy(store.read().values)
    tensors = run.weights()
    affine = (rows - tensors["mean"]).div_(tensors["scale"]) @ tensors["head.weight"]
    expected = torch.nn.functional.normalize(affine + tensors["head.bias"], dim=1)
    torch.testing.assert_close(embed(run, rows), expected)
    config = (run.path / "config.json").read_text()
    (run.path / "config.json").write_text(re.sub(r' *"transform": null,\n', "", config))
    assert Run.open(run.path).settings == run.settings


@pytest.mark.parametrize("format", ["onnx", "torchscript", "safetensors"])
def test_an_export_gives_the_embeddings_of_the_run(
    run: Run, store: FeatureStore, tmp_path: Path, format: Any
) -> None:
    done = export(run, store, tmp_path / "out", format=format, figures=False)
    assert done.card["check"]["min_cosine"] > 0.999999
    assert done.card["run"]["transform"] == CHAIN
    inside = done.card["preprocessing"]["inside"]
    assert "whitening, shrinkage 0.2" in inside
    assert "reduction to 10 principal directions" in inside
    features = store.read().values[:9]
    np.save(done.folder / "features.npy", features)
    text = (done.folder / "README.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    (done.folder / "embed.py").write_text(program)
    command = [sys.executable, "embed.py", "features.npy"]
    subprocess.run(command, cwd=done.folder, check=True, capture_output=True, timeout=60)
    found = np.load(done.folder / "embeddings.npy")
    np.testing.assert_allclose(found, naive(run, features), atol=1e-5)


def test_another_transform_is_another_space(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    digest = space_of(run, store, device="cpu").digest
    for part in ("power", "matrix"):
        changed = {**run.weights(), part: run.weights()[part] * 1.01}
        other = train(store, SETTINGS.replaced(epochs=1), tmp_path / part, device="cpu")
        save_file(changed, other.path / "weights.safetensors")
        assert space_of(Run.open(other.path), store, device="cpu").digest != digest


def test_an_ablation_compares_transforms_and_measures_what_a_run_measures(
    run: Run, store: FeatureStore, tmp_path: Path
) -> None:
    common = SETTINGS.replaced(transform=None)
    changes = [f"transform=centre,{CHAIN}"]
    found = ablation(store, tmp_path, common=common, loss="proxy-anchor", changes=changes, seeds=1)
    by_options = {row["options"]: row for row in found.rows}
    assert {f"transform={CHAIN}", "transform=centre"} <= by_options.keys()
    expected = evaluate_run(run, store, device="cpu").rows["mine"]
    ours = by_options[f"transform={CHAIN}"]
    assert ours["map@r"] == pytest.approx(expected.map_at_r, abs=1e-6)
    assert ours["map@r"] != by_options["transform=centre"]["map@r"]


def test_the_command_says_what_was_done_to_the_features(home: Path, dml: Any) -> None:
    words = f"train --loss proxy-anchor --epochs 1 --dim 8 --transform {CHAIN}"
    assert f"transform, fitted on the training rows: {CHAIN}" in dml(words).out
    assert dml(f"{words} --json").json()["transform"] == CHAIN
    assert "transform" not in dml("train --loss proxy-anchor --epochs 1 --dim 8").out
    assert dml("eval --json").code == 0


def test_a_probe_trains_behind_the_transform_of_the_run(store: FeatureStore) -> None:
    settings = SETTINGS.replaced(noise="symmetric:0.3")
    last, behind_centring = (
        probe(store, each, points=2, batches=2, device="cpu")[-1]
        for each in (settings, settings.replaced(transform=None))
    )
    assert last.wrong_pull is not None
    assert last.wrong_positives == behind_centring.wrong_positives  # the same batches
    assert last.wrong_pull != behind_centring.wrong_pull
