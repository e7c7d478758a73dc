"""Features that do not fit into the memory stay on the disk, with the same result."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cache import FeatureStore
from pipeline.choices.settings import Settings
from pipeline.evaluate import UNTRAINED, evaluate_run
from pipeline.runs.record import Run
from pipeline.train import train

FAST = {"dim": 16, "epochs": 3, "batch_size": 48}
TINY = 20_000  # bytes, fewer than the store has

# A store of 31 MB, which are 151 MB as the training would hold them, trained in a process of its
# own, which tells by how many bytes it grew beyond what training on a small store had taken.
GROWTH = """
import json, re, resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa, torch
from cache import FeatureStore, Fingerprint, StoreWriter, rows_digest
from pipeline.choices.settings import Settings
from pipeline.evaluate import UNTRAINED, evaluate_run
from pipeline.train import train

folder, memory = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)

def store(name, rows, width):
    ids = [f"{row:06}.jpg" for row in range(rows)]
    facts = dict(backbone="resnet50", weights_sha256="0" * 64, transform={"resize": 16}, pool="avg",
        dtype="float16", num_features=width, precision="float32",
        rows_digest=rows_digest(ids, range(rows)), versions={"dml": "0.1.0"})
    table = pa.table({"id": ids, "path": ids, "label": [str(row % 40) for row in range(rows)],
        "split": ["train" if row % 50 else "test" for row in range(rows)]})
    noise = np.random.default_rng(0).standard_normal((512, width)).astype("float16")
    with StoreWriter.create_or_resume(
        folder / name, fingerprint=Fingerprint(**facts), rows=table, root="photos", chunk_rows=512
    ) as writer:
        for number in list(writer.pending):
            place = writer.chunk(number)
            writer.write(number, noise[: len(place)] + number % 7, {})
    return FeatureStore.open(folder / name)

def peak():
    status = Path("/proc/self/status")
    if status.exists():  # Linux: getrusage would start at what the parent has
        return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

settings = Settings(loss="proxy-anchor", dim=16, epochs=1, batch_size=500)
train(store("small", 2_000, 64), settings, folder / "a", device="cpu", memory=100_000)
large, before = store("large", 30_000, 512), peak()
run = train(large, settings, folder / "b", device="cpu", memory=memory)
print(json.dumps({"grown": peak() - before, **run.record["features"]}))
"""


@pytest.fixture(scope="module")
def both(
    store: FeatureStore, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Run, Run]]:
    """Train resident and from the disk, and check that each is what it says."""

    def pair(**changes: Any) -> tuple[Run, Run]:
        folder, settings = tmp_path_factory.mktemp("runs"), Settings(**{**FAST, **changes})
        resident, streamed = (
            train(store, settings, folder / str(memory), device="cpu", memory=memory)
            for memory in (None, TINY)
        )
        assert resident.record["features"]["held"] == "resident"
        held = streamed.record["features"]
        assert (held["held"], held["memory_bytes"]) == ("streamed from disk", TINY)
        assert held["needed_bytes"] >= (288 + 192) * 24 * 4
        return resident, streamed

    return pair


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "prism"},
        {"loss": "proxy-anchor", "noise": "symmetric:0.3", "validation": "classes"},
        {"loss": "multi-similarity", "validation": "rows"},
        {"loss": "contrastive", "noise": "small-cluster:0.3"},  # looks at features
        {"loss": "none", "selection": "prism"},
    ],
)
def test_a_run_from_the_disk_has_the_files_of_a_resident_one(
    both: Callable[..., tuple[Run, Run]], changes: dict[str, Any]
) -> None:
    resident, streamed = both(**changes)
    ours, expected = streamed.weights(), resident.weights()
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(ours[name], value), name
    for part in ("history", "selection", "loss", "noise", "validation", "counts"):
        assert streamed.record[part] == resident.record[part]


def test_dml_train_streams_within_its_memory_and_says_so(home: Path, dml: Any) -> None:
    answer = dml("train --loss proxy-anchor --dim 16 --epochs 2 --memory 20KB")
    assert answer.code == 0
    assert "features: streamed from disk (they need 6.45e-05 GB, --memory 2e-05 GB)" in answer.out
    found = dml("train --loss proxy-anchor --dim 16 --epochs 2 --json").json()
    assert found["features"]["held"] == "resident"
    assert dml("eval --json").code == 0


def test_a_selection_that_cannot_stream_is_refused_by_name(home: Path, dml: Any) -> None:
    refusal = dml("train --loss proxy-anchor --select knn --memory 20KB").refusal()
    assert "--select knn looks at all 192 x 24 features at once" in refusal
    assert not (home / "dml-out" / "runs").exists()


@pytest.mark.parametrize("size", ["much", "0", "-1GB", "8 apples"])
def test_a_mistyped_size_is_one_line(home: Path, dml: Any, size: str) -> None:
    refusal = dml("train", "--memory", size).refusal()
    assert f"--memory '{size}': expected a size above 0 such as 8GB or 500MB" in refusal


def test_a_store_larger_than_its_memory_trains_within_it(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", GROWTH, str(tmp_path), str(10_000_000)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["held"] == "streamed from disk"
    assert found["needed_bytes"] > 150e6
    assert found["grown"] < 90e6, "what is not for rows is about 50 MB"


@pytest.mark.parametrize("validation", [None, "classes"])
def test_an_evaluation_from_the_disk_is_that_of_resident_features(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validation: Any
) -> None:
    settings = Settings(loss="proxy-anchor", validation=validation, **FAST)
    run = train(store, settings, tmp_path / "run", device="cpu")
    expected = evaluate_run(run, store, device="cpu")
    monkeypatch.setattr("pipeline.training.loading.free_bytes", lambda device: 30_000)
    found = evaluate_run(run, store, device="cpu")
    assert found.rows == expected.rows
    monkeypatch.setattr("pipeline.training.loading.free_bytes", lambda device: TINY)
    found = evaluate_run(run, store, device="cpu")
    assert UNTRAINED not in found.rows
    assert found.rows == {name: expected.rows[name] for name in found.rows}
    assert len(found.rows) == len(expected.rows) - 1


def test_dml_eval_says_that_the_untrained_features_are_left_out(
    home: Path, dml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dml("train --loss proxy-anchor --dim 16 --epochs 2")
    monkeypatch.setattr("pipeline.training.loading.free_bytes", lambda device: TINY)
    answer = dml("eval --json")
    assert answer.json()["untrained"] is None
    assert answer.json()["trained"] is not None
    assert "the untrained features do not fit into the memory and are left out" in answer.err
    assert "untrained" not in dml("eval").out
    assert "evaluate a trained run without --by" in dml("eval --by class").refusal()
