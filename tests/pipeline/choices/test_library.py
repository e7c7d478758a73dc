"""Names and options of the library's losses: what is refused, with which line, and the runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cache.errors import InputError
from pipeline.choices import library
from pipeline.choices.settings import Settings
from pipeline.runs.record import Run, free_path


@pytest.mark.parametrize("name", library._UNUSABLE)
def test_a_class_that_cannot_be_used_is_refused_with_the_reason(name):
    with pytest.raises(InputError, match=f"^pml:{name} cannot be used here: it [^\n]+$"):
        Settings(loss=f"pml:{name}").check()


REFUSED = {
    "--loss pml:TripletMarginLos": "unknown loss of pytorch-metric-learning 'TripletMarginLos': "
    "did you mean 'TripletMarginLoss'?",
    "--loss pml:qqq": "unknown loss of pytorch-metric-learning 'qqq': choose from AngularLoss, ",
    "--loss pml:": "pml: needs a class: pml:NAME with one of AngularLoss, ",
    "--loss pml:BaseLossWrapper": "unknown loss of pytorch-metric-learning 'BaseLossWrapper'",
    "--loss pml:CircleLoss --set loss.q=1": "unknown option of pml:CircleLoss 'q': choose from m, "
    "gamma",
    "--loss pml:CosFaceLoss --set loss.num_classes=3": "unknown option of pml:CosFaceLoss",
    "--loss pml:CircleLoss --set loss.distance=cosine": "option distance of pml:CircleLoss takes "
    "an object: only options that are numbers, words, true or false can be set here (m, gamma)",
    "--loss pml:CircleLoss --set loss.m=high": "option m of pml:CircleLoss is 'high': expected a "
    "number",
    "--loss pml:CircleLoss --set loss.m=NaN": "option m of pml:CircleLoss is nan: expected",
    "--loss pml:TripletMarginLoss --set loss.swap=1": "is 1: expected true or false",
    "--loss pml:RankedListLoss --set loss.margin=1": "loss pml:RankedListLoss needs --set "
    "loss.Tn=VALUE: it has no default",
    "--loss pml:PNPLoss --set loss.variant=X": "pml:PNPLoss cannot be made with these options: "
    "variant=X but must be one of",
    "--loss pml:TripletMarginLoss --set loss.triplets_per_anchor=few": "pml:TripletMarginLoss "
    "failed on a batch of 64 rows: ",
    "--loss pml:CircleLoss --select co-teaching": "loss pml:CircleLoss has none",
}


@pytest.mark.parametrize("words", REFUSED)
def test_train_refuses(words: str, home: Path, dml: Any) -> None:
    answer = dml(f"train {words}")
    *notes, line = answer.err.splitlines()
    assert (answer.code, answer.out) == (2, "")
    assert all(each.endswith("...") for each in notes)
    assert line.startswith("dml: ")
    assert REFUSED[words] in line
    assert not list(home.glob("dml-out/runs/*"))


def test_without_the_library_it_says_how_to_get_it(
    home: Path, dml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    answer = dml("train --loss pml:TripletMarginLoss")
    assert answer.code == 2
    assert answer.err == (
        "dml: pytorch-metric-learning is not installed: get it with `pip install 'dml[pml]'` or "
        "`uv sync --extra pml`\n"
    )


def test_names_without_the_prefix_import_neither_the_library_nor_torch():
    program = (
        "import sys\n"
        "from pipeline.choices.settings import Settings\n"
        "Settings(loss='proxy-anchor', options={'loss.margin': 0.2}).check()\n"
        "sys.exit(bool({'torch', 'pytorch_metric_learning'} & set(sys.modules)))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_run_is_saved_with_its_parameters_and_repeats_from_its_folder(
    home: Path, dml: Any
) -> None:
    words = "--set loss.margin=0.2 --dim 8 --epochs 2"
    assert dml(f"train --loss pml:ProxyAnchorLoss {words}").code == 0
    first = Run.open(Path("dml-out/runs/pml-ProxyAnchorLoss"))
    assert json.loads((first.path / "config.json").read_text())["loss"] == "pml:ProxyAnchorLoss"
    assert first.weights()["loss.proxies"].shape == (12, 8)
    assert dml(f"train --config {first.path}").code == 0
    second = Run.open(Path("dml-out/runs/pml-ProxyAnchorLoss-2"))
    assert second.settings == first.settings
    assert second.record["history"] == first.record["history"]
    for part, found in first.weights().items():
        assert torch.equal(found, second.weights()[part]), part
    assert dml("eval").code == 0


def test_the_list_of_losses_names_the_family(dml: Any) -> None:
    assert "pml:NAME" in dml("list losses").out


def test_a_run_s_folder_has_no_colon(tmp_path):
    assert free_path(tmp_path, "pml:CircleLoss") == tmp_path / "pml-CircleLoss"
