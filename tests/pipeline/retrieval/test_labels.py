"""Searching a run that was trained with corrected labels: it shows these, not the store's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

RELABELLED, DROPPED = "train/red/0.png", "train/green/0.png"
ROWS = 4 * (8 + 3 + 4)


@pytest.fixture
def corrected(desk: Path, dml: Any) -> Path:
    """The working folder, with a run on corrected labels as the latest."""
    (desk / "d.csv").write_text(f"id,decision,label\n{RELABELLED},relabel,ruby\n{DROPPED},drop,\n")
    assert dml("labels apply d.csv --new-classes --out v.parquet").code == 0
    assert dml("train --loss prism --labels v.parquet --dim 8 --epochs 2 --run fixed").code == 0
    return desk


def test_a_search_shows_corrected_labels_and_finds_no_dropped_image(
    corrected: Path, dml: Any
) -> None:
    answer = dml(f"search fixed --json --top 100 --id {RELABELLED} --id {DROPPED}")
    found = answer.json()
    assert found["labels"] == str(corrected / "v.parquet")
    assert f"; labels of {corrected / 'v.parquet'}" in answer.err
    assert found["rows"] == ROWS - 1
    hits = {hit["id"]: hit["label"] for hit in found["queries"][0]["hits"]}
    assert len(hits) == ROWS - 1
    assert hits.pop(RELABELLED) == "ruby"
    assert DROPPED not in hits
    assert all(label == key.split("/")[1] for key, label in hits.items())


def test_an_index_keeps_them_and_needs_the_file_no_longer(corrected: Path, dml: Any) -> None:
    answer = dml("index fixed --out i")
    assert f"labels of {corrected / 'v.parquet'}, without the rows that it drops" in answer.out
    (corrected / "v.parquet").unlink()
    found = dml(f"search i --json --top 1 --id {RELABELLED}").json()
    assert found["queries"][0]["hits"][0]["label"] == "ruby"
    assert found["labels"] == str(corrected / "v.parquet")
    line = dml(f"search fixed --id {RELABELLED}").refusal()
    assert "v.parquet, which are not there any more: put that file back, or train again" in line


def test_another_file_in_its_place_is_refused(corrected: Path, dml: Any) -> None:
    (corrected / "v.parquet").unlink()
    (corrected / "d.csv").write_text(f"id,decision,label\n{RELABELLED},drop,\n")
    dml("labels apply d.csv --out v.parquet")
    assert "have changed since then" in dml(f"search fixed --id {RELABELLED}").refusal()


def test_a_threshold_is_learnt_from_images_that_have_their_class_in_the_gallery(
    corrected: Path, dml: Any
) -> None:
    line = f"search fixed --json --threshold auto --id {RELABELLED}"
    assert dml(line).json()["threshold"]["images"] == 4 * 3  # those of the split val
    (corrected / "e.csv").write_text("id,decision,label\nval/blue/0.png,relabel,onyx\n")
    dml("labels apply e.csv --onto v.parquet --new-classes --out w.parquet")
    dml("train --loss prism --labels w.parquet --dim 8 --epochs 2 --run again")
    assert dml(line.replace("fixed", "again")).json()["threshold"]["images"] == 4 * 3 - 1


def test_other_runs_and_untrained_features_show_the_labels_of_the_store(
    corrected: Path, dml: Any
) -> None:
    found = dml(f"search fixed --untrained --json --top 1 --id {RELABELLED}").json()
    assert found["labels"] is None
    assert found["queries"][0]["hits"][0]["label"] == "red"
