"""Exports: the file gives the run's embeddings, or it is not written; the card says what it is."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from cache import DiskFullError, FeatureStore, InputError
from pipeline.choices.settings import Settings
from pipeline.evaluate import embed
from pipeline.export import export
from pipeline.exporting import weights
from pipeline.exporting.readme import readme
from pipeline.extract import extract
from pipeline.runs.record import Run
from pipeline.train import train

from .photos import make_photos

SETTINGS = Settings(loss="proxy-anchor", epochs=3, dim=8, validation="rows")
CARDS = ["README.md", "card.json"]


@pytest.fixture(scope="module")
def run(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(store, SETTINGS, tmp_path_factory.mktemp("runs") / "mine")


@pytest.fixture
def seen(tmp_path: Path, flat_backbone: Any) -> tuple[Run, FeatureStore]:
    """A run on small pictures, whose backbone is a linear map of the pixels."""
    manifest = folder_of(make_photos(tmp_path / "photos"))
    report = extract(manifest, tmp_path / "photos.zarr", flat_backbone, dtype="float32")
    found = FeatureStore.open(report.store)
    return train(found, SETTINGS.replaced(validation=None), tmp_path / "seen"), found


def folder_of(path: Path) -> Any:
    from pipeline.datasets import load_manifest

    return load_manifest(path)


def naive(run: Run, features: np.ndarray, head: str = "head") -> np.ndarray:
    """Embed row by row, feature by feature, in float64."""
    tensors = {name: tensor.double().numpy() for name, tensor in run.weights().items()}
    rows = []
    for row in features.astype(np.float64):
        centred = [
            (x - mean) / tensors["scale"] for x, mean in zip(row, tensors["mean"], strict=True)
        ]
        columns = zip(tensors[f"{head}.weight"].T, tensors[f"{head}.bias"], strict=True)
        values = [sum(w * x for w, x in zip(c, centred, strict=True)) + b for c, b in columns]
        length = sum(value**2 for value in values) ** 0.5
        rows.append([value / length for value in values])
    return np.array(rows)


def traced(file: Path, inputs: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch recommends torch.export
        model = torch.jit.load(file)
    return model(torch.from_numpy(inputs)).detach().numpy()


def test_a_torchscript_head_embeds_as_the_formula_says(
    run: Run, store: FeatureStore, tmp_path: Path
) -> None:
    features = store.read().values[:7]
    done = export(run, store, tmp_path / "out", format="torchscript")
    assert done.files == tuple(tmp_path / "out" / name for name in ["model.pt", *CARDS])
    np.testing.assert_allclose(traced(done.files[0], features), naive(run, features), atol=1e-6)
    assert done.card["check"]["rows"] == 256
    assert done.card["check"]["min_cosine"] > 0.999999


def test_the_selected_epoch_is_another_model(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    head = run.weights()
    assert run.record["validation"]["selected_epoch"] != run.settings.epochs
    for epoch, part in (("last", "head"), ("selected", "selected")):
        done = export(run, store, tmp_path / epoch, format="safetensors", epoch=epoch)
        assert torch.equal(load_file(done.files[0])["weight"], head[f"{part}.weight"])
        assert done.card["model"]["epoch"] == epoch
        features = store.read().values[:3]
        given = embed(run, torch.from_numpy(features), part).numpy()
        np.testing.assert_allclose(naive(run, features, part), given, atol=1e-6)


def test_safetensors_say_how_they_are_used(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    file = export(run, store, tmp_path / "head.safetensors", format="safetensors").files[0]
    assert file == tmp_path / "head.safetensors"
    with safe_open(file, "np") as opened:
        facts = opened.metadata()
        assert {name: opened.get_slice(name).get_shape() for name in opened.keys()} == {  # noqa: SIM118
            "mean": [24],
            "scale": [],
            "weight": [24, 8],
            "bias": [8],
        }
    assert facts["use"].startswith("e = ((features - mean) / scale) @ weight + bias")
    assert facts["dml.store_digest"] == store.fingerprint.digest()


def test_the_program_in_the_readme_runs_alone(
    run: Run, store: FeatureStore, tmp_path: Path
) -> None:
    folder = export(run, store, tmp_path / "out", format="safetensors").folder
    features = store.read().values[:9]
    np.save(folder / "features.npy", features.astype(np.float16))
    (program,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.S)
    (folder / "embed.py").write_text(program)
    command = [sys.executable, "embed.py", "features.npy"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    found = np.load(folder / "embeddings.npy")
    np.testing.assert_allclose(found, naive(run, features.astype(np.float16)), atol=1e-6)


def test_the_card_has_the_facts_of_the_run(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    done = export(run, store, tmp_path / "out", format="safetensors", command="dml export mine")
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card == done.card
    assert card["store"]["digest"] == run.record["store"]["fingerprint"]
    assert card["run"]["settings"]["loss"] == "proxy-anchor"
    assert list(card["figures"])[:2] == ["untrained", "mine"]
    assert 0 < card["figures"]["mine"]["recall@1"] <= 1
    text = (tmp_path / "out" / "README.md").read_text()
    for told in (card["model"]["sha256"], card["backbone"]["weights_sha256"], "dml export mine"):
        assert told in text


def test_names_from_outside_can_do_no_harm_in_the_card(
    run: Run, store: FeatureStore, tmp_path: Path
) -> None:
    hostile = replace(run, path=tmp_path / "`<script>alert(1)</script>` | x\n# y")
    facts = export(run, store, tmp_path / "out", format="safetensors", figures=False).card
    text = readme({**facts, "name": hostile.path.name, "command": hostile.path.name})
    assert "<" not in text.split("```")[0]
    assert text.splitlines()[0].count("`") == 2
    assert not any(line.startswith("# y") for line in text.splitlines())
    assert "Not measured" in text


def test_what_differs_from_the_run_is_not_written(
    run: Run, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = weights.write

    def other(module: Any, *arguments: Any) -> Any:
        module.bias += 0.5
        return right(module, *arguments)

    monkeypatch.setattr(weights, "write", other)
    with pytest.raises(InputError, match="differs from the run, least cosine 0.8[0-9]*, expected"):
        export(run, store, tmp_path / "out", format="safetensors")
    assert not (tmp_path / "out").exists()


def test_a_file_for_one_number_of_inputs_is_not_written(
    run: Run, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = weights.write

    def other(*arguments: Any) -> Any:
        written = right(*arguments)

        def fixed(inputs: np.ndarray) -> np.ndarray:
            if len(inputs) == 1:
                raise RuntimeError("Got: 1 Expected: 256")
            return written.run(inputs)

        return written._replace(run=fixed)

    monkeypatch.setattr(weights, "write", other)
    with pytest.raises(InputError, match=r"any number of inputs \(Got: 1 Expected: 256\)"):
        export(run, store, tmp_path / "out", format="safetensors")
    assert not (tmp_path / "out").exists()


def test_only_an_export_is_replaced_and_only_by_force(
    run: Run, store: FeatureStore, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(run, store, out, format="safetensors", figures=False)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="exists: choose another --out, or replace that export"):
        export(run, store, out, format="safetensors")
    done = export(run, store, out, format="safetensors", epoch="selected", force=True)
    assert json.loads((out / "card.json").read_text()) == done.card
    assert sorted(path.name for path in out.iterdir()) == [*CARDS, "model.safetensors", "notes.txt"]
    project = tmp_path / "project"
    project.mkdir()
    (project / "README.md").write_text("a project")
    with pytest.raises(InputError, match=r"README\.md does not belong to an export of dml"):
        export(run, store, project / "x.safetensors", format="safetensors", force=True)
    assert [path.name for path in project.iterdir()] == ["README.md"]


def test_a_full_disk_leaves_nothing_behind(
    run: Run, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="no space left on device; make room and export again"):
        export(run, store, tmp_path / "out", format="safetensors", figures=False)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused(store: FeatureStore, tmp_path: Path) -> None:
    plain = train(store, SETTINGS.replaced(validation=None, epochs=1), tmp_path / "plain")
    with pytest.raises(InputError, match="has selected no epoch: use --epoch last"):
        export(plain, store, tmp_path / "out", format="torchscript", epoch="selected")
    none = train(store, Settings(loss="none"), tmp_path / "none")
    with pytest.raises(InputError, match="has trained no head"):
        export(none, store, tmp_path / "out", format="torchscript")
    with pytest.raises(InputError, match="leave out --with-backbone, or use --format onnx"):
        export(plain, store, tmp_path / "out", format="safetensors", with_backbone=True)


def test_pictures_go_through_the_backbone_in_the_file(
    seen: tuple[Run, FeatureStore], tmp_path: Path
) -> None:
    run, store = seen
    done = export(run, store, tmp_path / "out", format="torchscript", with_backbone=True)
    assert done.card["check"]["on"] == "8 images of the store"
    assert done.card["check"]["min_cosine_to_store"] > 0.999
    assert done.card["model"]["input"]["shape"] == ["B", 3, 16, 16]
    assert done.card["preprocessing"]["outside"] == [
        "decoding to 8-bit RGB",
        "resizing",
        "centre crop",
    ]


def test_without_the_images_random_pictures_tell_and_the_card_says_so(
    seen: tuple[Run, FeatureStore], tmp_path: Path
) -> None:
    run, store = seen
    (tmp_path / "photos").rename(tmp_path / "gone")
    done = export(run, store, tmp_path / "out", format="torchscript", with_backbone=True)
    assert done.card["check"]["on"].startswith("4 random pictures, because no image is where")
    assert done.card["check"]["min_cosine_to_store"] is None


def test_changed_images_are_not_compared_with_the_store(
    seen: tuple[Run, FeatureStore], tmp_path: Path
) -> None:
    run, store = seen
    first = tmp_path / "photos" / "class 0" / "0.png"
    first.write_bytes((tmp_path / "photos" / "class 1" / "0.png").read_bytes())
    done = export(run, store, tmp_path / "out", format="torchscript", with_backbone=True)
    assert done.card["check"]["on"] == "7 images of the store"
    assert done.card["check"]["min_cosine_to_store"] > 0.999


def test_another_backbone_is_refused_by_the_field(
    seen: tuple[Run, FeatureStore],
    flat_backbone: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, store = seen
    other = replace(flat_backbone, weights_sha256="f" * 64)
    monkeypatch.setattr("pipeline.backbones.load_backbone", lambda *_, **__: other)
    with pytest.raises(InputError, match="weights_sha256 is .*: name the file of its weights with"):
        export(run, store, tmp_path / "out", format="torchscript", with_backbone=True)
    assert not (tmp_path / "out").exists()
