"""`dml ablate` and `dml table`: what they print, how they end, what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.runs.results import read_results

FAST = "--dim 8 --epochs 2"
NOISE = "0,symmetric:0.5"


def test_ablate_prints_a_table_and_table_prints_it_again(home: Path, dml: Any):
    line = f"ablate --loss contrastive,prism --noise {NOISE} --seeds 2 {FAST}"
    answer = dml(line)
    assert answer.code == 0
    assert "labels symmetric:0.5 (50.0 % changed)" in answer.out
    assert "2 seeds; difference: to contrastive, paired by seed" in answer.out
    assert answer.err.splitlines()[-1].endswith("8 runs trained, 0 were there already")
    assert dml("table").out == answer.out
    assert read_results(Path("dml-out/ablation"))[0]["command"] == f"dml {line}".replace(
        f"--seeds 2 {FAST}", "--seeds 2 --epochs 2 --dim 8"
    )
    assert dml("table --format markdown --metric map@r").out.startswith("| labels | method | map@r")
    assert dml("table --format latex").out.startswith("\\begin{tabular}{llrrrr}")
    assert dml("table --baseline untrained").code == 0
    found = dml("table --json").json()
    assert dml(line, "--json").json() == found
    assert (found["metric"], found["baseline"], len(found["lines"])) == (
        "recall@1",
        "contrastive",
        6,
    )


def test_a_grid_with_validation_marks_what_validation_prefers(home: Path, dml: Any):
    grid = "--set loss.margin=0.1,0.4 --set lr=0.001,0.01 --validation rows"
    answer = dml(f"ablate --loss proxy-anchor --noise 0 --seeds 1 {FAST} {grid}")
    assert answer.code == 0
    assert "proxy-anchor loss.margin=0.4 lr=0.01" in answer.out
    assert sum(" * " in line for line in answer.out.splitlines()) == 1
    assert "the test rows were not used to choose" in answer.out
    lines = dml("table --json").json()["lines"]
    best = max(lines[1:], key=lambda line: line["validation"])
    assert [line["options"] for line in lines if line["is_preferred"]] == [best["options"]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nowhere", "no results at nowhere/results.parquet: run `dml ablate"),
        ("broken", "broken/results.parquet is damaged"),
        ("o --metric recal@1", "unknown metric 'recal@1': did you mean 'recall@1'?"),
        ("o --baseline prism", "unknown baseline 'prism'"),
        ("o --format html", "'html' is not one of 'text', 'markdown', 'latex'"),
    ],
)
def test_table_refuses(words: str, said: str, home: Path, dml: Any):
    (home / "broken").mkdir()
    (home / "broken" / "results.parquet").write_text("no table")
    dml(f"ablate --loss contrastive --noise 0 --seeds 1 {FAST} --out o")
    answer = dml(f"table {words}")
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert answer.err.count("\n") == 1


# Failing


def test_a_failed_cell_is_recorded_and_the_others_go_on(
    home: Path, dml: Any, counted: list[list[int]]
):
    line = f"ablate --loss contrastive --set lr=1e38,0.001 --seeds 2 --noise 0 {FAST} --out o"
    answer = dml(line)
    assert answer.code == 1
    last = answer.err.splitlines()[-1]
    assert last.startswith("dml: 1 of 2 cells failed: contrastive lr=1e38 with noise 0: training")
    rows = read_results(Path("o"))
    assert [row["failure"] is None for row in rows] == [True, False, False, True, True]
    assert [row["recall@1"] is None for row in rows] == [False, True, True, False, False]
    assert "failed: contrastive lr=1e38: training diverged" in dml("table o").out
    counted.clear()
    assert dml(line, "--json").code == 1
    assert counted == [[0, 1]]  # it is tried again, the other is kept


# Refusals

REFUSED = {
    "--loss prsim": "unknown loss 'prsim': did you mean 'prism'?",
    "--loss prism,prism": "prism is asked for twice",
    "--select prims": "unknown selection 'prims'",
    "--noise 0,symetric:0.2": "unknown noise 'symetric'",
    "--seeds 0": "--seeds 0: expected a whole number of at least 1",
    "--recall 0": "--recall '0': expected whole numbers",
    "--baseline prims": "unknown baseline 'prims': did you mean 'prism'?",
    "--protocol zero": "protocol is 'zero'",
    "--batch-size 2": "batch_size is 2: loss",
    "--set loss.margn=1,2": "unknown option of",
    "--validation split": 'validation "split" needs rows with the split "val"',
    "--store nowhere": "there is no feature store at",
    "--out pictures": "pictures holds other things than an ablation",
    "--out file.txt": "file.txt is no folder",
    "--out file.txt/o": "choose another --out",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_work_is_refused_before_any_training(
    words: str, home: Path, pictures: Path, dml: Any, counted: list[list[int]]
):
    (home / "file.txt").write_text("no folder")
    before = sorted(home.rglob("*"))
    answer = dml(f"ablate {FAST} {'' if '--loss' in words else '--loss prism'} {words}")
    assert (answer.code, answer.out, counted) == (2, "", [])
    assert REFUSED[words] in answer.err.splitlines()[-1]
    assert sorted(home.rglob("*")) == before
