"""Every command that the README shows is run, in its order, in one folder, on few pictures."""

from __future__ import annotations

import csv
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

import cli
from cache import FeatureStore
from pipeline.choices.settings import Settings
from pipeline.datasets import demo as demo_set

ROOT = Path(__file__).parents[1]
PHOTOS = ROOT.parent / "shared" / "data" / "grocery"
SET_UP = "pip install uv && "
ITSELF = "uv run pytest"  # running it here would not end
EVERY = 5  # of the demo set's 64 classes one in so many; the tour over all of them is a slow test
# What the tests add to a long command, so that it ends soon.
QUICKLY = {
    "ablate": ["--loss", "contrastive,softmax", "--seeds", "2", "--epochs", "1"],
    "noise_table": ["--methods", "prism,softmax", "--epochs", "1", "--seeds", "2"],
    "noise_detection": ["--seeds", "1"],
}


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line.removeprefix(SET_UP) for line in lines]


def make_photos(folder: Path) -> None:
    """A folder of class folders: 6 classes of 10 demo pictures."""
    demo = demo_set.demo_manifest()
    for label in sorted(set(demo.labels))[:6]:
        (folder / label).mkdir(parents=True)
        of_class = [
            path for path, each in zip(demo.paths, demo.labels, strict=True) if each == label
        ]
        for path in of_class[:10]:
            (folder / label / Path(path).name).write_bytes((demo.root / path).read_bytes())


def make_grocery(folder: Path) -> None:
    """A manifest of the photos of 6 classes, every third."""
    with (PHOTOS / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    chosen = sorted({row["label"] for row in rows})[:6]
    folder.mkdir()
    with (folder / "manifest.csv").open("w") as file:
        table = csv.DictWriter(file, ["path", "label", "split"], extrasaction="ignore")
        table.writeheader()
        for row in [row for row in rows if row["label"] in chosen][::3]:
            table.writerow({**row, "path": str(PHOTOS / row["path"])})


def of_training(words: list[str]) -> list[str]:
    """Shorten a training: the demo has chosen and trained at full length already."""
    if "--loss" not in words:
        return ["--budget", "0"]
    loss = words[words.index("--loss") + 1]
    return ["--epochs", "3"] if Settings(loss=loss).recipe.loss else []


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a README command in this process: the environment that uv would make is this one."""
    words = shlex.split(command)
    assert words[:2] == ["uv", "run"], f"the README shows a command of another form: {command}"
    if words[2] == "dml":
        quick = of_training(words) if words[3] == "train" else QUICKLY.get(words[3], [])
        assert cli.main([*words[3:], *quick]) == 0, command
        return
    assert words[2] == "python", command
    out = Path("result.json").resolve()
    quick = [*QUICKLY[Path(words[3]).stem], "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*words[3:], *quick])
    monkeypatch.syspath_prepend((ROOT / words[3]).parent)  # as Python does for a script
    runpy.run_path(str(ROOT / words[3]), run_name="__main__")
    assert out.stat().st_size > 0
    out.unlink()


def test_the_readme_begins_with_the_two_commands():
    assert commands()[:2] == ["uv run dml demo", ITSELF]


def test_every_command_of_the_readme_ends_well(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DML_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(demo_set, "ALPHABET", demo_set.ALPHABET[::EVERY])
    make_photos(tmp_path / "photos")
    has_photos = PHOTOS.is_dir()
    if has_photos:
        make_grocery(tmp_path / "grocery")
    for command in commands():
        if command == ITSELF or ("grocery" in command and not has_photos):
            continue
        run(command, monkeypatch)
    shown = capsys.readouterr().out
    for text in ("untrained", "smooth-proxy-anchor", "recall@8", "map@r"):
        assert text in shown
    if not has_photos:
        pytest.skip("the Grocery photos are not in ../shared: its two commands were left out")


@pytest.mark.slow
def test_the_whole_tour_shows_what_wrong_labels_cost_and_robust_methods_save(
    tmp_path, monkeypatch, dml
):
    monkeypatch.chdir(tmp_path)
    rows = dml("demo --json").json()["rows"]
    assert len(FeatureStore.open(tmp_path / "dml-out" / "demo" / "features.zarr").rows) == 1600
    noisy = {method: row["noisy"]["recall@1"] for method, row in rows.items()}
    assert noisy["proxy-anchor"] < rows["proxy-anchor"]["clean"]["recall@1"] - 10
    assert min(noisy["prism"], noisy["auto"]) > max(noisy["proxy-anchor"], noisy["untrained"])
