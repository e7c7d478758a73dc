"""ONNX files: searched without this program they give the same neighbours."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from cache import FeatureStore, InputError
from pipeline.backbones import load_backbone
from pipeline.backbones._backbone import Backbone
from pipeline.choices.settings import Settings
from pipeline.datasets import load_manifest
from pipeline.evaluate import embed
from pipeline.export import export
from pipeline.extract import extract
from pipeline.extraction.embed import embed_files
from pipeline.train import train

from .photos import make_photos

SETTINGS = Settings(loss="proxy-anchor", epochs=3, dim=8)
# Without `site` nothing of this program can be found: the packages' folder is named by hand, and
# the file there that leads to this repository is not followed.
ALONE = """
import importlib.util, runpy, sys
sys.path.append({packages!r})
for name in ("dml", "cli", "cache", "pipeline"):
    assert importlib.util.find_spec(name) is None, name
sys.argv = ["embed.py", *{images!r}]
runpy.run_path("embed.py", run_name="__main__")
assert not {{"torch", "zarr", "timm"}} & set(sys.modules)
"""


def run_alone(folder: Path, images: list[str]) -> np.ndarray:
    """Run the card's program with nothing but installed packages; returns what it saved."""
    (program,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.S)
    (folder / "embed.py").write_text(program)
    text = ALONE.format(packages=sysconfig.get_path("purelib"), images=images)
    command = [sys.executable, "-I", "-S", "-c", text]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: np.ndarray = np.load(folder / "embeddings.npy")
    return found


def in_float32(backbone: Backbone, images: list[str]) -> np.ndarray:
    """Embed pictures as `dml extract` does; the store's arithmetic may be bfloat16."""
    batches = embed_files(
        backbone,
        images,
        [range(len(images))],
        ids=images,
        root=Path("/"),
        device=torch.device("cpu"),
        precision="float32",
    )
    return np.concatenate([batch.values[:, 0] for batch in batches])


def neighbours(embeddings: np.ndarray) -> np.ndarray:
    """For each row the others, nearest first."""
    return (-(embeddings @ embeddings.T)).argsort(axis=1, kind="stable")


@pytest.mark.slow
def test_a_file_with_the_backbone_finds_the_same_neighbours_without_this_program(
    tmp_path: Path, flat_backbone: Any
) -> None:
    manifest = load_manifest(make_photos(tmp_path / "photos"))
    report = extract(manifest, tmp_path / "photos.zarr", flat_backbone, dtype="float32")
    store = FeatureStore.open(report.store)
    run = train(store, SETTINGS, tmp_path / "run")
    done = export(run, store, tmp_path / "out", with_backbone=True)
    assert done.card["check"]["min_cosine"] > 0.999999
    images = sorted(str(file) for file in (tmp_path / "photos").rglob("*.png"))
    found = run_alone(done.folder, images)
    ours = embed(run, torch.from_numpy(in_float32(flat_backbone, images))).numpy()
    assert (found * ours).sum(axis=1).min() > 0.999999
    assert (neighbours(found)[:, :6] == neighbours(ours)[:, :6]).all()
    model = onnx.load(done.files[0])
    facts = {each.key: each.value for each in model.metadata_props}
    assert facts["dml.store_digest"] == store.fingerprint.digest()
    assert str(Path(__file__).parents[2]).encode() not in done.files[0].read_bytes()


@pytest.mark.slow
def test_the_pool_of_the_features_is_the_one_in_the_file(tmp_path: Path) -> None:
    manifest = load_manifest(make_photos(tmp_path / "photos", each=3))
    backbone = load_backbone("efficientnet_lite0", pool="avg,max")
    report = extract(manifest, tmp_path / "photos.zarr", backbone)
    store = FeatureStore.open(report.store)
    run = train(store, SETTINGS.replaced(features="max"), tmp_path / "run")
    card = export(run, store, tmp_path / "out", format="torchscript", with_backbone=True).card
    assert card["backbone"]["features"] == "max"
    assert card["check"]["min_cosine_to_store"] > 0.98  # of the other pool it is far less


def test_onnx_without_its_libraries_is_one_line(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(store, SETTINGS, tmp_path / "run")

    def absent(name: str) -> Any:
        return None if name.startswith("onnx") else find_spec(name)

    monkeypatch.setattr("pipeline.exporting.onnx.find_spec", absent)
    with pytest.raises(InputError, match=r"needs onnx, onnxscript, onnxruntime: pip install 'dml"):
        export(run, store, tmp_path / "out")
    assert not (tmp_path / "out").exists()
