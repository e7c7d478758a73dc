"""An extraction that is killed at any moment is taken up and ends as if nothing had happened."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GROCERY = ROOT.parent / "shared" / "data" / "grocery"
PHOTOS, TIMES = 100, 20


@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that uses torch")
@pytest.mark.skipif(not GROCERY.exists(), reason="the grocery photos are not here")
def test_twenty_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    with (GROCERY / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    step = len(rows) // PHOTOS
    with (tmp_path / "photos.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "path", "label"])
        for row in rows[: PHOTOS * step : step]:
            writer.writerow([row["path"], GROCERY / row["path"], row["label"]])
    script = Path(__file__).with_name("killing.py")
    command = [sys.executable, script, tmp_path / "photos.csv", tmp_path, str(TIMES)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(is_equal for _, _, is_equal in found["killed"]), found
    inside = {there for was_killed, there, _ in found["killed"] if was_killed}
    assert len(inside) >= TIMES // 2, found  # at different moments
