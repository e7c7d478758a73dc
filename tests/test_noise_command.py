"""`dml noise`: overlays from the command line, their lists, and the estimate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

FAST = "--loss prism --dim 16 --epochs 2"


def test_bare_noise_shows_its_help(dml: Any) -> None:
    answer = dml("noise")
    assert answer.code == 0
    assert "estimate" in answer.out


def test_make_then_train_is_train_with_the_noise(home: Path, dml: Any) -> None:
    made = dml("noise make symmetric:0.5 --seed 3 --json").json()
    assert made["overlay"] == "dml-out/noise/symmetric-0.5-seed3.parquet"
    assert (made["nominal_rate"], made["realised_rate"]) == (0.5, 0.5)
    assert len(made["flipped"]) == made["rows"] / 2 == 96
    direct = dml(f"train --noise symmetric:0.5 --seed 3 --run a --json {FAST}").json()
    shared = dml(f"train --noise file:{made['overlay']} --seed 3 --run b --json {FAST}").json()
    assert shared["noise"] == direct["noise"] == {"nominal": 0.5, "realised": 0.5}
    for name in ("labels.parquet", "weights.safetensors"):
        assert (home / "a" / name).read_bytes() == (home / "b" / name).read_bytes()


def test_describe_tells_what_make_told(home: Path, dml: Any) -> None:
    made = dml("noise make small-cluster:0.3 --out mine.parquet --json").json()
    assert dml("noise describe mine.parquet --json").json() == made
    text = dml("noise describe mine.parquet").out
    assert "classes: 12 given, 8 now, 4 dissolved" in text
    assert "nominal 30.0 %, realised 33.3 %" in text
    assert "all of them: dml noise describe mine.parquet --json" in text


def test_export_and_import_go_round(home: Path, dml: Any) -> None:
    dml("noise make symmetric:0.3 --out first.parquet")
    assert dml("noise export first.parquet --to list.csv").out == "list.csv: 192 lines path,label\n"
    found = dml("noise import list.csv --out second.parquet --json").json()
    assert (found["noise"], found["nominal_rate"]) == ("file:list.csv", None)
    columns = [pq.read_table(f"{name}.parquet") for name in ("first", "second")]
    assert columns[0].replace_schema_metadata().equals(columns[1].replace_schema_metadata())
    assert "nominal" not in dml("noise describe second.parquet").out


def test_import_passes_its_options_on(home: Path, dml: Any) -> None:
    lines = [f"/x/y/{row:04}.jpg,{row % 12 + 1}" for row in range(192)]
    (home / "list.csv").write_text("\n".join(lines))
    options = "--numbering one --join name --cleaned list.csv"
    found = dml(f"noise import list.csv {options} --json").json()
    assert found["noise"] == "file:list.csv,numbering=one,join=name,cleaned=list.csv"
    assert found["flipped"] == []


def test_a_small_cluster_training_has_fewer_classes(home: Path, dml: Any) -> None:
    found = dml(f"train --noise small-cluster:0.3 --json {FAST}").json()
    assert found["counts"]["train_classes"] == 8
    assert found["detection"]["auc"] > 0.5
    assert dml("eval").code == 0
    assert dml("probe --points 2").code == 0


def test_estimate_shows_its_error_on_known_noise(home: Path, dml: Any) -> None:
    found = dml("noise estimate --json").json()
    assert found["noise_rate"] < 0.05
    assert [round(trial["injected"], 1) for trial in found["trials"]] == [0.2, 0.4]
    answer = dml("noise estimate")
    assert "injected on top" in answer.out
    assert "assumes symmetric noise" in answer.err
