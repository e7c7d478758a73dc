"""`dml labels` and `dml train --labels`: from decisions to a training, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

FAST = "--dim 16 --epochs 2"
DECISIONS = "id,decision,label,note\n0000.jpg,relabel,5,\n0001.jpg,drop,,blurred\n0002.jpg,keep,,\n"


@pytest.fixture
def decided(home: Path) -> Path:
    (home / "d.csv").write_text(DECISIONS)
    (home / "second.csv").write_text("id,decision,label\n0000.jpg,keep,\n0001.jpg,drop,\n")
    return home


def test_bare_labels_shows_its_help(dml: Any) -> None:
    answer = dml("labels")
    assert answer.code == 0
    assert "apply" in answer.out


def test_decisions_become_labels_that_train(decided: Path, dml: Any) -> None:
    made = dml("labels apply d.csv --json").json()
    assert made["labels"] == "dml-out/labels/v1.parquet"
    assert made["decisions"] == {"keep": 1, "relabel": 1, "drop": 1}
    before = (decided / made["labels"]).read_bytes()
    found = dml(f"train --loss prism --labels {made['labels']} --run a --json {FAST}").json()
    assert found["counts"]["train"] == 191
    assert found["labels"]["corrected"] == found["labels"]["dropped"] == found["labels"]["version"]
    table = pq.read_table("a/labels.parquet").to_pylist()
    assert table[0]["label"] == "5"
    assert table[0]["given_label"] == "0"
    assert [row["id"] for row in table[:2]] == ["0000.jpg", "0002.jpg"]
    text = dml(f"train --loss prism --labels {made['labels']} --run b {FAST}").out
    assert "(version 1): 1 corrected, 1 rows left out; queries and gallery keep the" in text
    assert dml("eval").code == dml("eval a").code == 0
    assert (decided / made["labels"]).read_bytes() == before


def test_a_run_with_labels_is_repeated_by_its_configuration(decided: Path, dml: Any) -> None:
    dml("labels apply d.csv --out mine.parquet")
    dml(f"train --loss prism --labels mine.parquet --run a {FAST}")
    assert dml("train --config a --run b").code == 0
    for name in ("labels.parquet", "weights.safetensors"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def test_a_second_reviewer_is_told_of_conflicts(decided: Path, dml: Any) -> None:
    dml("labels apply d.csv")
    answer = dml("labels apply second.csv --onto dml-out/labels/v1.parquet")
    assert "1 decisions differ from an earlier one, the later counts:" in answer.out
    assert "  0000.jpg: relabel 5, now keep" in answer.out
    described = dml("labels describe dml-out/labels/v2.parquet --json").json()
    assert described["version"] == 2
    assert described["labels_changed"] == 0
    assert "version 2, " in dml("labels describe dml-out/labels/v2.parquet").out


def test_export_writes_all_rows(decided: Path, dml: Any) -> None:
    dml("labels apply d.csv --out v.parquet")
    assert dml("labels export v.parquet --to all.csv").out == "all.csv: 288 rows\n"
    assert Path("all.csv").read_text().splitlines()[1] == "0000.jpg,0000.jpg,5,0,relabel,"


def test_an_ablation_trains_with_corrected_labels(decided: Path, dml: Any) -> None:
    dml("labels apply d.csv --out v.parquet")
    cells = "ablate --loss contrastive --noise 0 --seeds 1 --out ab --json --dim 8 --epochs 1"
    assert dml(cells).code == 0
    answer = dml(f"{cells} --labels v.parquet")
    assert "1 runs trained, 0 were there already" in answer.err
    settings = [json.loads(row["settings"]) for row in rows_of("ab") if row["settings"]]
    assert [each["labels"] for each in settings] == ["v.parquet"]
    assert [row["train_rows"] for row in rows_of("ab") if row["train_rows"]] == [191]
    assert "0 runs trained, 1 were there already" in dml(f"{cells} --labels v.parquet").err
    dml("labels apply second.csv --out w.parquet")
    Path("w.parquet").replace("v.parquet")  # other labels under the same name
    assert "1 runs trained, 0 were there already" in dml(f"{cells} --labels v.parquet").err


def rows_of(folder: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(f"{folder}/results.parquet").to_pylist()
    return rows


REFUSED = {
    "labels apply nowhere.csv": "cannot read the decisions nowhere.csv: no such file",
    "labels apply bad.csv": "line 2 of bad.csv: decision 'delete' on '0000.jpg' is not known",
    "labels apply class.csv": "is the class 'dragon', which no picture has: --new-classes makes",
    "labels apply id.csv": "1 of 1 decisions are about pictures that the store does not have",
    "labels apply none.csv": "nothing is decided in none.csv: decide on a picture first",
    "labels apply d.csv --out d.csv": "d.csv exists: choose another file or remove it",
    "labels apply d.csv --onto d.csv": "d.csv holds no corrected labels: make them",
    "labels apply d.csv --store nowhere": "there is no feature store at",
    "labels describe d.csv": "d.csv holds no corrected labels",
    "labels export nowhere --to x.csv": "there are no corrected labels at nowhere",
    "train --labels nowhere": "there are no corrected labels at nowhere: make them with",
    "train --labels d.csv": "d.csv holds no corrected labels",
    "ablate --labels d.csv --seeds 1": "d.csv holds no corrected labels",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    line: str, decided: Path, dml: Any
) -> None:
    (decided / "bad.csv").write_text("id,decision\n0000.jpg,delete\n")
    (decided / "class.csv").write_text("id,decision,label\n0000.jpg,relabel,dragon\n")
    (decided / "none.csv").write_text("id,decision\n0000.jpg,\n")
    (decided / "id.csv").write_text("id,decision\nx.jpg,keep\n")
    before = sorted(decided.rglob("*"))
    assert REFUSED[line] in dml(line).refusal()
    assert sorted(decided.rglob("*")) == before


def test_a_run_with_corrected_labels_is_audited_and_probed_with_them(
    decided: Path, dml: Any
) -> None:
    dml("labels apply d.csv --out v.parquet")
    dml(f"train --loss contrastive --labels v.parquet --noise symmetric:0.3 --run a {FAST}")
    assert dml("audit a --out found --json").json()["rows"] == 191
    table = pq.read_table("found/findings.parquet", columns=["id", "given_label"]).to_pylist()
    used = pq.read_table("a/labels.parquet", columns=["id", "label"]).to_pylist()
    assert {row["id"]: row["given_label"] for row in table} == {
        row["id"]: row["label"] for row in used
    }
    assert dml("probe a --points 2").code == 0


def test_the_page_of_an_audit_is_written_beside_its_findings(home: Path, dml: Any) -> None:
    answer = dml("audit --noise symmetric:0.3 --html --top 1 --out found --json")
    assert answer.json()["rows"] == 192
    assert "found/suspects.html: open it in a browser" in answer.err
    page = Path("found/suspects.html").read_text(encoding="utf-8")
    assert "Download decisions" in page
    assert "the first 1 with pictures" in page
    refused = dml("audit --top 5 --out other").refusal()
    assert "--top 5 goes with --html: add it, or leave --top out" in refused
    assert not Path("other").exists()
