"""Every benchmark states a claim and a command; with `-m slow` each runs, on small sizes."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "benchmarks").glob("[!_]*.py"))
RESULTS = sorted((ROOT / "benchmarks/results").glob("*.json"))
# Sizes that take seconds; what needs a store of photos is run by the README's test.
SMALL = {
    "audit_quality": None,
    "chunk_size": ["--rows", "500", "--features", "16", "--rounds", "2"],
    "correction_gain": None,
    "default_wins": None,
    "evaluation_memory": ["--rows", "500", "--dim", "16"],
    "evaluation_speed": ["--rows", "500", "--dim", "16"],
    "extraction_rate": [
        *("--backbone", "efficientnet_lite0", "--images", "40", "--pairs", "1", "--seconds", "0.1"),
    ],
    "growth": ["--points", "2", "--shrink", "10"],
    "method_parts": None,
    "million_rows": ["--rows", "2000", "--features", "16"],
    "noise_detection": None,
    "noise_table": None,
    "paper_table": [
        *("--rows", "300", "--classes", "60", "--features", "16", "--epochs", "1", "--seeds", "1"),
    ],
    "step_cost": [
        *("--methods", "contrastive", "--rows", "300", "--classes", "60", "--features", "16"),
        *("--steps", "3"),
    ],
    "store_contents": ["--images", "300", "--epochs", "1", "--seeds", "2", "--rounds", "2"],
    "store_read": ["--gigabytes", "0.01", "--rounds", "3"],
    "training_rate": [
        *("--rows", "400", "--classes", "80", "--features", "16", "--dim", "8", "--runs", "2"),
        *("--steps", "3", "--rounds", "2"),
    ],
}


def test_every_benchmark_has_small_sizes():
    assert {script.stem for script in SCRIPTS} == set(SMALL)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_benchmark_states_its_claim_and_its_command(script, capsys, monkeypatch):
    monkeypatch.syspath_prepend(script.parent)  # what the scripts share lies beside them
    specification = importlib.util.spec_from_file_location(f"benchmark_{script.stem}", script)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert module.__doc__.startswith("Claim")
    assert f"benchmarks/{script.name}" in module.__doc__
    monkeypatch.setattr(sys, "argv", [script.name, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    assert "--out" in capsys.readouterr().out


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.stem)
def test_the_readme_names_the_revision_that_a_result_is_of(result):
    """So that nobody takes the figures for those of today."""
    report = json.loads(result.read_text(encoding="utf-8"))
    revisions = {report["environment"]["git"]}
    if isinstance(report.get("cells"), list):
        revisions |= {cell["git"] for cell in report["cells"] if "git" in cell}
    lines = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith(f"| `{result.name}` |"))
    assert set(re.findall(r"`([0-9a-f]{7}(?:-dirty)?)`", line)) == revisions


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, given in SMALL.items() if given is not None])
def test_a_benchmark_runs_on_small_sizes(name, tmp_path):
    out = tmp_path / "result.json"
    command = [sys.executable, f"benchmarks/{name}.py", *SMALL[name], "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text(encoding="utf-8"))
    assert {"command", "environment"} <= report.keys()
    assert done.stdout
