"""Every benchmark states a claim and a command; with `-m slow` each runs, on small sizes."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
# Sizes small enough for a minute; what needs a store of photos is run by the README's test.
SMALL = {
    "evaluation_memory": None,  # has a test of its own
    "evaluation_speed": ["--rows", "500", "--dim", "16"],
    "extraction_rate": ["--images", "16", "--pairs", "1", "--seconds", "1"],
    "growth": ["--largest", "1000"],
    "noise_detection": None,
    "noise_table": None,
    "paper_table": [
        *("--rows", "300", "--classes", "60", "--features", "16", "--epochs", "1", "--seeds", "1"),
    ],
    "step_cost": [
        *("--methods", "contrastive", "--rows", "300", "--classes", "60", "--features", "16"),
        *("--steps", "3"),
    ],
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


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, given in SMALL.items() if given is not None])
def test_a_benchmark_runs_on_small_sizes(name, tmp_path):
    out = tmp_path / "result.json"
    command = [sys.executable, f"benchmarks/{name}.py", *SMALL[name], "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text(encoding="utf-8"))
    assert {"command", "environment"} <= report.keys()
    assert "|" in done.stdout
