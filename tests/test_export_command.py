"""`dml export`: bare, with its options, and what it refuses before anything is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import FeatureStore, StoreWriter

from .pipeline.photos import make_photos

FAST = "--loss proxy-anchor --dim 8 --epochs 2"
QUICK = "--format safetensors --no-figures"


def test_an_export_tells_what_it_wrote_and_how_it_was_checked(home: Path, dml: Any) -> None:
    dml(f"train {FAST}")
    answer = dml("export --format torchscript")
    folder = "dml-out/export/proxy-anchor-torchscript"
    first, second, third = answer.out.splitlines()
    assert first.startswith(f"{folder}/model.pt: torchscript, ")
    assert "features float32 (B, 24) to embeddings float32 (B, 8)" in first
    assert second.startswith("compared with the run on 256 stored features: least cosine ")
    assert third == f"how to use it: {folder}/README.md; all facts: card.json"
    assert "recall@1" in Path(folder, "README.md").read_text()


def test_the_card_has_the_command_that_was_typed(home: Path, dml: Any) -> None:
    dml(f"train {FAST} --run mine")
    found = dml(f"export mine {QUICK} --out a --json").json()
    assert found["card"]["command"] == ("dml export mine --format safetensors --out a --no-figures")
    assert found["files"] == ["a/model.safetensors", "a/README.md", "a/card.json"]
    assert json.loads(Path("a/card.json").read_text()) == found["card"]


def test_from_pictures_to_embeddings_what_is_left_is_told(
    tmp_path: Path, dml: Any, flat_backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    dml("extract photos")
    dml(f"train {FAST}")
    answer = dml("export --with-backbone --format torchscript")
    assert answer.code == 0
    assert "left to you: decoding to 8-bit RGB, resizing, centre crop" in answer.out
    assert "and with the stored features, which are rounded: least cosine 0.99" in answer.out
    assert dml("export --format torchscript").code == 0  # a folder of its own


REFUSED = {
    "--format tflite": "'tflite' is not one of 'onnx', 'torchscript', 'safetensors'",
    "--epoch best": "'best' is not one of 'last', 'selected'",
    f"{QUICK} --epoch selected": "the run has selected no epoch: use --epoch last, or train with",
    f"{QUICK} --with-backbone": "leave out --with-backbone, or use --format onnx or torchscript",
    f"{QUICK} --out x.onnx": "x.onnx does not fit the format: expected a folder, or a file ending",
    f"{QUICK} --out file.txt": "file.txt is no folder: choose another --out",
    f"{QUICK} --out file.txt/x": "file.txt: choose another --out",
    f"{QUICK} --out s3://bucket/x": "kept on this machine, s3:/bucket/x is a URL: choose another",
    f"{QUICK} --out photos": "photos/README.md exists: choose another --out, or replace",
    f"{QUICK} --out photos --force": "README.md does not belong to an export of dml, and --force",
    f"{QUICK} --store nowhere": "there is no feature store at",
    "nowhere": "no run at nowhere: train one with",
}


@pytest.mark.parametrize("words", REFUSED)
def test_export_refuses(words: str, home: Path, dml: Any) -> None:
    dml(f"train {FAST}")
    (home / "file.txt").write_text("a file")
    (home / "photos").mkdir()
    (home / "photos" / "README.md").write_text("a project")
    before = sorted(home.rglob("*"))
    assert REFUSED[words] in dml(f"export {words}").refusal()
    assert sorted(home.rglob("*")) == before


@pytest.mark.parametrize(
    ("facts", "features", "said"),
    [
        ({"pool": "avg,max", "views": 1}, "avg@1", "which no model file makes: train with"),
        ({"backbone": "imported:clip"}, None, "the features came from another program"),
    ],
)
def test_features_that_no_backbone_makes_of_a_picture_export_the_head_alone(
    facts: dict[str, Any],
    features: str | None,
    said: str,
    home: Path,
    dml: Any,
    store: FeatureStore,
) -> None:
    made = replace(store.fingerprint, **facts)
    values = np.stack([store.read().values] * len(made.feature_names), axis=1)
    with StoreWriter.create_or_resume(
        home / "made.zarr", fingerprint=made, rows=store.rows, root="photos", chunk_rows=100
    ) as writer:
        for number in list(writer.pending):
            rows = writer.chunk(number)
            part = values[rows.start : rows.stop]
            writer.write(number, part[:, 0] if part.shape[1] == 1 else part, {})
    chosen = f"--features {features}" if features else ""
    assert dml(f"train {FAST} --store made.zarr {chosen}").code == 0
    assert said in dml("export --format torchscript --with-backbone").refusal()
    assert dml(f"export {QUICK}").code == 0
