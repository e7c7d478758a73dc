"""`dml audit`: what it finds, what it says, and that right labels never take part."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from cache import FeatureStore
from pipeline.audit import audit as stage
from pipeline.audit.findings import Findings, as_csv

NOISE = "symmetric:0.2"


def test_wrong_labels_come_first_with_the_right_suggestion(store: FeatureStore) -> None:
    found = stage.audit_store(store, noise=NOISE)
    measures = found.summary["measures"]
    assert measures["auc"] > 0.8
    assert measures["right_suggestions"] > 0.5
    assert found.table["p_wrong"].to_pylist() == sorted(
        found.table["p_wrong"].to_pylist(), reverse=True
    )
    first = found.rows()[0]
    assert first.kind == "wrong label"
    assert first.is_label_issue
    assert first.suggested_label in first.reason
    assert first.given_label != first.suggested_label
    assert 0 < len(first.suggested_class) <= 6
    assert first.id not in first.same_class


def test_equal_seeds_give_equal_findings(store: FeatureStore) -> None:
    one, two = (stage.audit_store(store, noise=NOISE, seed=3) for _ in range(2))
    assert as_csv(one.table) == as_csv(two.table)


def test_right_labels_never_reach_a_score(make_store: Any, tmp_path: Path) -> None:
    """The same given labels with and without a true_label column are judged alike."""
    given = [str((row + (row % 7 == 0)) % 12) for row in range(288)]
    true = [str(row % 12) for row in range(288)]
    plain = make_store(tmp_path / "plain.zarr", given, drawn_for=true)
    told = make_store(tmp_path / "told.zarr", given, true_labels=true, drawn_for=true)
    alone, beside = stage.audit_store(plain), stage.audit_store(told)
    assert as_csv(alone.table) == as_csv(beside.table)
    assert alone.summary["measures"] is None
    assert beside.summary["measures"]["known_noise_rate"] == pytest.approx(28 / 192, abs=0.01)


def test_a_store_without_splits_is_audited_as_a_whole(make_store: Any, tmp_path: Path) -> None:
    store = make_store(tmp_path / "whole.zarr", splits=None)
    assert stage.audit_store(store).summary["rows"] == 288


def test_a_class_of_one_image_is_unknown_and_not_wrong(make_store: Any, tmp_path: Path) -> None:
    labels = ["alone", *(str(row % 12) for row in range(1, 288))]
    store = make_store(
        tmp_path / "one.zarr", labels, drawn_for=[str(row % 12) for row in range(288)]
    )
    found = stage.audit_store(store)
    (row,) = (row for row in found.rows() if row.given_label == "alone")
    assert not row.is_label_issue
    assert row.knn != row.knn
    assert row.out_of_fold != row.out_of_fold
    assert row.reason == "too few images of its class to judge it"
    assert row.same_class == []
    assert found.summary["unknown"] == 1


# The command


def test_the_command_writes_the_files_and_says_what_it_found(home: Path, dml: Any) -> None:
    answer = dml(f"audit --noise {NOISE} --csv")
    assert answer.code == 0, answer.err
    assert "by the right labels: 19.8 % wrong; AUC 0." in answer.out
    assert "most probably wrong:" in answer.out
    folder = home / "dml-out/audit"
    assert sorted(file.name for file in folder.iterdir()) == [
        "classes.parquet",
        "findings.csv",
        "findings.parquet",
        "noise.parquet",
        "summary.json",
    ]
    found = Findings.load(folder)
    with (folder / "findings.csv").open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["id"] for line in lines] == found.table["id"].to_pylist()
    assert json.loads(lines[0]["same_class"]) == found.rows()[0].same_class
    assert lines[0]["dynamics"] == ""


def test_its_json_has_no_nan_and_nothing_around_it(home: Path, dml: Any) -> None:
    facts = dml("audit --json").json()
    assert facts["measures"] is None
    assert facts["out"] == "dml-out/audit"
    assert set(facts["counts"]) == {"wrong label", "out of set", "ambiguous"}
    facts = dml("audit --json --noise symmetric:0 --out other").json()
    assert facts["measures"]["auc"] is None


def test_a_run_is_audited_with_its_labels_and_its_training(home: Path, dml: Any) -> None:
    run = dml(f"train --loss prism --noise {NOISE} --dim 16 --epochs 3 --json").json()["run"]
    facts = dml("audit --json", run).json()
    assert facts["settings"]["noise"] == NOISE
    assert facts["combination"]["dynamics"] is True
    assert facts["measures"]["auc"] > 0.8
    row = Findings.load(home / "dml-out/audit").rows()[0]
    assert 0 <= row.dynamics <= 1


def test_what_lies_in_the_folder_stays(home: Path, dml: Any) -> None:
    folder = home / "dml-out/audit"
    dml("audit --csv")
    (folder / "decisions.csv").write_text("id,decision,label,note\n")
    assert dml("audit").code == 0
    assert (folder / "decisions.csv").exists()
    assert not (folder / "findings.csv").exists()  # it was of another audit


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("audit --noise symetric:0.2", "did you mean 'symmetric'?"),
        ("audit nowhere.zarr", "nowhere.zarr"),
        ("audit --out features.zarr/zarr.json", "is a file, an audit is a folder"),
        ("audit --features max", "max"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    home: Path, dml: Any, line: str, message: str
) -> None:
    answer = dml(line)
    assert message in answer.refusal()
    assert not (home / "dml-out/audit").exists()


def test_a_run_takes_no_noise(home: Path, dml: Any) -> None:
    run = dml("train --loss prism --dim 16 --epochs 1 --json").json()["run"]
    assert "--noise goes with a store" in dml("audit --noise symmetric:0.1", run).refusal()


def test_two_images_are_too_few(make_store: Any, tmp_path: Path, dml: Any) -> None:
    make_store(tmp_path / "two.zarr", ["a", "b"], None)
    answer = dml("audit", str(tmp_path / "two.zarr"), "--out", str(tmp_path / "out"))
    assert "an audit compares at least 4 images of at least 2 classes" in answer.refusal()
