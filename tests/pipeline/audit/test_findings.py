"""The files of an audit: written, read again, and refused where they do not belong together."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cache.errors import InputError
from pipeline.audit.findings import PAIRS_SCHEMA, SCHEMA, Findings

ROW: dict[str, Any] = {
    "id": "a<b>.jpg",
    "path": "cat/a.jpg",
    "given_label": "<script>, a label",
    "suggested_label": "dog",
    "label_score": 0.25,
    "is_label_issue": True,
    "p_wrong": 0.75,
    "kind": "wrong label",
    "reason": "why; not",
    "knn": 0.5,
    "centre": 0.5,
    "out_of_fold": float("nan"),
    "dynamics": float("nan"),
    "same_class": ["x;y", 'say "hi"'],
    "suggested_class": [],
}
OTHER = {**ROW, "id": "b", "kind": "", "p_wrong": 0.125, "is_label_issue": False}


@pytest.fixture
def found() -> Findings:
    pairs = [{"a": "cat", "b": "dog", "rows_ab": 2, "rows_ba": 3, "share": 0.1}]
    return Findings(
        pa.Table.from_pylist([ROW, OTHER], schema=SCHEMA),
        pa.Table.from_pylist(pairs, schema=PAIRS_SCHEMA),
        {"rows": 2},
    )


def test_what_is_saved_is_loaded(found: Findings, tmp_path: Path) -> None:
    found.save(tmp_path / "new" / "audit")
    again = Findings.load(tmp_path / "new" / "audit")
    assert str(again.table.to_pylist()) == str(found.table.to_pylist())  # a text, for NaN's sake
    assert again.classes.equals(found.classes)
    assert again.summary == {"rows": 2}


def test_rows_are_typed_and_suspects_have_a_kind(found: Findings) -> None:
    first, second = found.rows()
    assert (first.id, first.same_class) == ("a<b>.jpg", ["x;y", 'say "hi"'])
    assert second.kind == ""
    assert [row.id for row in found.suspects()] == ["a<b>.jpg"]


def test_the_csv_says_the_same(found: Findings, tmp_path: Path) -> None:
    found.save(tmp_path, with_csv=True)
    with (tmp_path / "findings.csv").open(newline="", encoding="utf-8") as stream:
        first, _ = csv.DictReader(stream)
    assert list(first) == SCHEMA.names
    assert first["given_label"] == ROW["given_label"]
    assert (first["p_wrong"], first["out_of_fold"]) == ("0.7500", "")
    assert json.loads(first["same_class"]) == ROW["same_class"]


def test_where_there_is_no_audit_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no audit at .*: run `dml audit --out"):
        Findings.load(tmp_path)


def test_files_of_two_audits_are_not_taken_for_one(found: Findings, tmp_path: Path) -> None:
    found.save(tmp_path / "one")
    Findings(found.table.slice(0, 1), found.classes, {}).save(tmp_path / "two")
    shutil.copy(tmp_path / "two/findings.parquet", tmp_path / "one")
    with pytest.raises(InputError, match=r"findings\.parquet is not the one"):
        Findings.load(tmp_path / "one")


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"sha256": 3}', '{"sha256": {}}'])
def test_a_damaged_summary_is_one_line(found: Findings, tmp_path: Path, content: str) -> None:
    found.save(tmp_path)
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(InputError, match="is damaged"):
        Findings.load(tmp_path)


def test_a_missing_table_is_one_line(found: Findings, tmp_path: Path) -> None:
    found.save(tmp_path)
    (tmp_path / "classes.parquet").unlink()
    with pytest.raises(InputError, match=r"is damaged, a file is missing"):
        Findings.load(tmp_path)


def test_a_table_of_another_version_names_the_column(found: Findings, tmp_path: Path) -> None:
    Findings(found.table.drop_columns(["reason"]), found.classes, {}).save(tmp_path)
    with pytest.raises(InputError, match=r"no column 'reason' of string.*run dml audit again"):
        Findings.load(tmp_path)


def test_a_file_in_the_folders_place_is_refused(found: Findings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file, an audit is a folder"):
        found.save(tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"


def test_the_tables_can_be_read_by_others(found: Findings, tmp_path: Path) -> None:
    found.save(tmp_path)
    assert pq.read_table(tmp_path / "findings.parquet").column_names[:2] == ["id", "path"]
