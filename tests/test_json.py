"""What `--json` prints: one value of a fixed shape, with nothing around it and no NaN in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.demo import Row
from pipeline.measures.metrics import Retrieval

FAST = "--dim 16 --epochs 3"
PRISM = f"--loss prism {FAST}"


def test_train_prints_its_json_and_nothing_else(home: Path, dml: Any) -> None:
    answer = dml(f"train --noise symmetric:0.5 --json {PRISM}")
    found = answer.json()
    assert {"run", "store", "loss", "noise", "detection", "seconds"} <= set(found)
    assert found["noise"] == {"nominal": 0.5, "realised": 0.5}
    assert set(found["detection"]) == {"auc", "precision", "recall"}
    assert Path(found["store"]) == home / "features.zarr"
    assert "training" in answer.err


def test_without_known_wrong_labels_there_is_no_detection(home: Path, dml: Any) -> None:
    found = dml(f"train --json {PRISM}").json()
    assert found["noise"] == {"nominal": 0.0, "realised": 0.0}
    assert found["detection"] is None


@pytest.mark.parametrize("noise", ["symmetric:0", "symmetric:1"])
@pytest.mark.parametrize("loss", ["none", "proxy-anchor", "prism", "smooth-proxy-anchor"])
def test_json_has_no_nan_where_nothing_or_everything_is_wrong(
    home: Path, dml: Any, loss: str, noise: str
) -> None:
    # With no right label left most rows have no class; the loss would refuse to leave them out.
    options = "--set loss.unassigned=negative" if loss == "smooth-proxy-anchor" else ""
    fast = "" if loss == "none" else FAST  # which trains no epoch
    answer = dml(f"train --loss {loss} --noise {noise} --json {fast} {options}")
    assert answer.code == 0
    answer.json()
    dml("eval --json").json()
    dml("info --json", f"dml-out/runs/{loss}").json()


def test_eval_prints_percent_in_its_json(home: Path, dml: Any) -> None:
    dml(f"train {PRISM}")
    found = dml("eval --json --recall 8,1,8").json()
    facts = ["run", "protocol", "queries", "unmatched", "search"]
    assert list(found) == [*facts, "trained", "selected", "untrained"]
    names = ["recall@1", "recall@8", "precision@1", "r_precision", "map@r"]
    assert list(found["trained"]) == list(found["untrained"]) == names
    assert 10 < found["untrained"]["recall@1"] < 100
    assert found["untrained"]["recall@1"] == found["untrained"]["precision@1"]


def test_extract_prints_its_json_with_what_was_skipped(
    pictures: Path, dml: Any, flat_backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures.parent)
    (pictures / "dog" / "text.jpg").write_text("no picture")
    found = dml("extract pictures --json").json()
    assert Path(found["store"]) == pictures.parent / "dml-out" / "features.zarr"
    assert (found["rows"], found["readable"], found["num_features"]) == (7, 6, 8)
    assert found["skipped"] == [{"id": "dog/text.jpg", "reason": "not a known image format"}]
    again = dml("extract pictures")
    assert "is complete" in again.out
    assert "1 image could not be read" in again.out
    assert "dog/text.jpg: not a known image format" in again.out
    assert dml("info --json").json()["num_unreadable"] == 1


@pytest.mark.parametrize("what", ["losses", "selections", "noise", "backbones", "datasets"])
def test_list_prints_name_summary_and_options_of_every_entry(what: str, dml: Any) -> None:
    table = dml(f"list {what}").out
    for entry in dml(f"list {what} --json").json():
        assert {"name", "summary", "options"} <= set(entry)
        assert entry["name"] in table


def test_list_tells_defaults_and_ranges(dml: Any) -> None:
    found = dml("list losses --json").json()
    entry = next(each for each in found if each["name"] == "proxy-anchor")
    scale = {"default": 32.0, "expected": "a number above 0", "required": False}
    assert entry["options"]["scale"] == scale
    assert "scale=32.0 (above 0)" in dml("list losses").out


def test_info_tells_about_a_store_and_about_a_run(home: Path, dml: Any) -> None:
    dml(f"train --loss contrastive {FAST}")
    assert dml("info --json").json()["backbone"] == "resnet50"
    run = dml("info dml-out/runs/contrastive --json").json()
    assert run["settings"]["loss"] == "contrastive"
    assert len(run["history"]["loss"]) == 3
    assert "resnet50" in dml("info").out
    assert "contrastive" in dml("info dml-out/runs/contrastive").out


def test_demo_prints_its_table_and_its_json(dml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Retrieval({1: 0.5, 2: 0.75}, 0.5, 0.25, 0.125, 10, 0)
    rows = [Row("untrained", found, found, None, None, 0.0), Row("x", found, found, 0.8, 0.9, 2.0)]
    monkeypatch.setattr("pipeline.demo.demo", lambda *_, **__: rows)
    answer = dml("demo --json").json()
    assert list(answer["rows"]) == ["untrained", "x"]
    assert answer["rows"]["x"]["noisy"]["recall@1"] == 50.0
    assert (answer["rows"]["x"]["found"], answer["rows"]["untrained"]["found"]) == (80.0, None)
    lines = dml("demo").out.splitlines()
    assert "40% wrong" in lines[0]
    assert lines[2].split() == ["x", "50.0", "50.0", "0.0", "80.0", "90.0"]
