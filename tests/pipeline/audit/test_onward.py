"""From an audit to corrected labels: the commands that are printed work as they stand."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from cache import FeatureStore
from pipeline.audit import audit as stage
from pipeline.audit.findings import NOISE, Findings, read_summary
from pipeline.audit.onward import apply_command
from pipeline.labels.corrected_file import read_corrected

FOLDER = Path("dml-out/audit")


def applied(dml: Any, found: Findings, decisions: str) -> Any:
    """Decide to relabel the first suspect, run the printed command, read what it wrote."""
    first = found.suspects()[0]
    line = f"{first.id},relabel,{first.suggested_label},\n"
    Path(decisions).write_text(f"id,decision,label,note\n{line}")
    command = apply_command(read_summary(FOLDER), FOLDER, decisions)
    answer = dml("", *shlex.split(command)[1:], "--out", "v.parquet")
    assert answer.code == 0, answer.err
    return read_corrected(Path("v.parquet"))


@pytest.mark.parametrize("splits", [("train",) * 192 + ("test",) * 96, None])
def test_decisions_on_labels_made_wrong_correct_just_these(
    home: Path, dml: Any, make_store: Any, splits: Any
) -> None:
    make_store(home / "other.zarr", splits=splits)  # not the one that bare commands take
    answer = dml("audit other.zarr --noise symmetric:0.2 --seed 5")
    assert answer.out.endswith("next: dml review dml-out/audit\n")
    found = Findings.load(FOLDER)
    after = applied(dml, found, "my decisions.csv")
    given = dict(zip(after.ids, after.given, strict=True))
    assert all(given[row.id] == row.given_label for row in found.rows())
    assert after.facts.noise == "symmetric:0.2 seed 5"
    assert (
        dml("train --loss prism --store other.zarr --labels v.parquet --dim 8 --epochs 1").code == 0
    )


def test_decisions_on_a_run_go_on_from_its_labels(home: Path, dml: Any) -> None:
    fast = "train --loss prism --dim 8 --epochs 1"
    dml(f"{fast} --noise symmetric:0.2 --validation rows --seed 3 --run a")
    dml("audit a")
    found = Findings.load(FOLDER)
    assert applied(dml, found, "d.csv").facts.noise == "symmetric:0.2 seed 3"
    dml(f"{fast} --labels v.parquet --run b")
    dml("audit b")
    assert not (FOLDER / NOISE).exists()  # an older audit's
    assert "--onto v.parquet" in apply_command(read_summary(FOLDER), FOLDER, "d.csv")


def test_findings_keep_the_labels_that_were_made_wrong(store: FeatureStore, tmp_path: Path) -> None:
    found = stage.audit_store(store, noise="symmetric:0.2")
    found.save(tmp_path)
    assert found.noisy is not None
    assert len(found.noisy.flipped()) / 192 == found.noisy.facts.realised_rate
    assert Findings.load(tmp_path).noisy == found.noisy
    assert stage.audit_store(store).noisy is None
