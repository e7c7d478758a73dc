"""The command line: help, results for people and for programs, exit codes, what is left behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import typer

import cli
from pipeline.demo import Row
from pipeline.metrics import Retrieval

COMMANDS: dict[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
FAST = "--dim 16 --epochs 3"


def strict_json(text: str) -> Any:
    """Read the one value that a text is; NaN and Infinity are no JSON."""
    assert text == text.lstrip()
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def content(run: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in run.iterdir() if file.name != "record.json"}


@contextmanager
def interrupting(title: str) -> Iterator[Callable[[int, int], None]]:
    """A stage whose user presses Ctrl-C as soon as something is done."""

    def progress(done: int, total: int) -> None:
        if done > 0:
            raise KeyboardInterrupt

    yield progress


# Help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str, dml: Any) -> None:
    answer = dml(f"{name} --help")
    assert answer.code == 0
    text = COMMANDS[name].help
    assert "Examples:" in text
    assert f"[bold]dml {name}" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_is_explained(name: str) -> None:
    for parameter in COMMANDS[name].params:
        assert getattr(parameter, "help", None), parameter.name


def test_every_command_can_print_json() -> None:
    for command in COMMANDS.values():
        assert "--json" in [word for each in command.params for word in each.opts]


def test_help_and_lists_are_quick_and_import_nothing_heavy() -> None:
    program = (
        "import sys, cli\n"
        "for words in (['--help'], ['train', '--help'], [], ['list'], ['list', 'selections'],\n"
        "              ['list', 'noise', '--json'], ['list', 'backbones']):\n"
        "    assert cli.main(words) == 0, words\n"
        "heavy = {'torch', 'torchvision', 'timm', 'zarr', 'pyarrow', 'matplotlib'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)
    assert time.perf_counter() - start < 10


def test_the_console_script_ends_with_the_command_s_exit_code(tmp_path: Path) -> None:
    program = "import sys, cli; sys.argv = ['dml', 'train', '--store', 'nowhere']; cli.run()"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("dml: there is no feature store at")
    assert done.stderr.count("\n") == 1


def test_no_installed_package_brings_a_module_of_our_names() -> None:
    owners = packages_distributions()
    for name in ("cache", "pipeline", "cli"):
        assert set(owners.get(name, ["dml"])) == {"dml"}


# Train, then evaluate


def test_bare_train_then_bare_eval_works(home: Path, dml: Any) -> None:
    trained = dml("train")
    assert trained.code == 0
    assert trained.out.startswith("runs/prism: 192 rows of 12 classes")
    assert "features.zarr" in trained.err
    found = dml("eval")
    assert found.code == 0
    for word in ("recall@1", "recall@2", "recall@4", "recall@8", "prec@1", "r-prec", "map@r"):
        assert word in found.out
    untrained, prism = found.out.splitlines()[1:3]
    assert (untrained.split()[0], prism.split()[0]) == ("untrained", "prism")
    assert float(prism.split()[1]) > float(untrained.split()[1])
    assert "runs/prism" in found.err
    assert "96 test rows searched among 192 gallery rows" in found.err


def test_runs_are_numbered_and_eval_takes_the_newest(home: Path, dml: Any) -> None:
    assert strict_json(dml(f"train --json {FAST}").out)["run"] == "runs/prism"
    assert strict_json(dml(f"train --json {FAST}").out)["run"] == "runs/prism-2"
    last = strict_json(dml(f"train --json --loss contrastive {FAST}").out)["run"]
    assert last == "runs/contrastive"
    assert strict_json(dml("eval --json").out)["run"] == last
    # Moving a run does not make it newer, nor does touching its files.
    (home / "runs" / "prism").rename(home / "runs" / "zebra")
    (home / "runs" / "zebra" / "record.json").touch()
    assert strict_json(dml("eval --json").out)["run"] == last


def test_a_run_is_repeated_bit_for_bit_by_its_configuration(home: Path, dml: Any) -> None:
    options = "--set loss.margin=0.2 --noise symmetric:0.3 --seed 5"
    assert dml(f"train --loss smooth-proxy-anchor {options} --run first {FAST}").code == 0
    assert dml("train --config first --run second").code == 0
    assert dml("train --config first/config.json --run third").code == 0
    assert content(home / "first") == content(home / "second") == content(home / "third")
    measured = [strict_json(dml(f"eval {name} --json").out) for name in ("first", "second")]
    assert measured[0]["trained"] == measured[1]["trained"]


def test_options_beside_a_configuration_change_it(home: Path, dml: Any) -> None:
    dml(f"train --run first --seed 5 {FAST}")
    again = strict_json(dml("train --config first --run second --seed 6 --json").out)
    assert (again["settings"]["seed"], again["settings"]["dim"]) == (6, 16)


def test_eval_of_the_recipe_none_has_only_the_untrained_row(home: Path, dml: Any) -> None:
    assert dml("train --loss none").code == 0
    found = strict_json(dml("eval --json").out)
    assert found["trained"] is None
    assert found["untrained"]["recall@1"] > 0


def test_labels_that_appear_only_in_test_are_counted_and_left_out(
    home: Path, dml: Any, make_store: Any
) -> None:
    labels = [str(row % 12) for row in range(280)] + ["strange"] * 8
    make_store(home / "some.zarr", labels=labels)
    dml(f"train --store some.zarr {FAST}")
    found = strict_json(dml("eval --json").out)
    assert (found["protocol"], found["queries"], found["unmatched"]) == ("query-gallery", 88, 8)
    assert "8 without a match were left out" in dml("eval").err


def test_if_all_test_labels_are_new_the_test_rows_search_among_themselves(
    home: Path, dml: Any, make_store: Any
) -> None:
    labels = [str(row % 12) if row < 192 else f"new {row % 6}" for row in range(288)]
    make_store(home / "all.zarr", labels=labels)
    trained = strict_json(dml(f"train --store all.zarr --json {FAST}").out)
    assert trained["counts"] == {"train": 192, "query": 96, "gallery": 96, "train_classes": 12}
    found = strict_json(dml("eval --json").out)
    assert (found["protocol"], found["queries"], found["unmatched"]) == ("class-disjoint", 96, 0)


def test_the_confidence_selection_takes_fewer_rows_than_folds(
    home: Path, dml: Any, make_store: Any
) -> None:
    make_store(home / "few.zarr", labels=["a", "b"] * 3, splits=["train"] * 3 + ["test"] * 3)
    assert dml(f"train --store few.zarr --select confidence {FAST}").code == 0


# JSON


def test_train_prints_its_json_and_nothing_else(home: Path, dml: Any) -> None:
    answer = dml(f"train --noise symmetric:0.5 --json {FAST}")
    found = strict_json(answer.out)
    assert {"run", "store", "loss", "noise", "detection", "seconds"} <= set(found)
    assert found["noise"] == {"nominal": 0.5, "realised": 0.5}
    assert set(found["detection"]) == {"auc", "precision", "recall"}
    assert Path(found["store"]) == home / "features.zarr"
    assert "training" in answer.err


def test_without_known_wrong_labels_there_is_no_detection(home: Path, dml: Any) -> None:
    found = strict_json(dml(f"train --json {FAST}").out)
    assert found["noise"] == {"nominal": 0.0, "realised": 0.0}
    assert found["detection"] is None


@pytest.mark.parametrize("noise", ["symmetric:0", "symmetric:1"])
@pytest.mark.parametrize("loss", ["none", "proxy-anchor", "prism", "smooth-proxy-anchor"])
def test_json_has_no_nan_where_nothing_or_everything_is_wrong(
    home: Path, dml: Any, loss: str, noise: str
) -> None:
    answer = dml(f"train --loss {loss} --noise {noise} --json {FAST}")
    assert answer.code == 0
    strict_json(answer.out)
    strict_json(dml("eval --json").out)
    strict_json(dml("info --json", f"runs/{loss}").out)


def test_eval_prints_percent_in_its_json(home: Path, dml: Any) -> None:
    dml(f"train {FAST}")
    found = strict_json(dml("eval --json --recall 8,1,8").out)
    assert list(found) == ["run", "protocol", "queries", "unmatched", "trained", "untrained"]
    names = ["recall@1", "recall@8", "precision@1", "r_precision", "map@r"]
    assert list(found["trained"]) == list(found["untrained"]) == names
    assert 10 < found["untrained"]["recall@1"] < 100
    assert found["untrained"]["recall@1"] == found["untrained"]["precision@1"]


def test_extract_prints_its_json_with_what_was_skipped(
    pictures: Path, dml: Any, flat_backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures.parent)
    (pictures / "dog" / "text.jpg").write_text("no picture")
    found = strict_json(dml("extract pictures --json").out)
    assert Path(found["store"]) == pictures.parent / "features.zarr"
    assert (found["rows"], found["readable"], found["num_features"]) == (7, 6, 8)
    assert found["skipped"] == [{"id": "dog/text.jpg", "reason": "not a known image format"}]
    again = dml("extract pictures")
    assert "is complete" in again.out
    assert "1 image could not be read" in again.out
    assert "dog/text.jpg: not a known image format" in again.out
    assert strict_json(dml("info --json").out)["num_unreadable"] == 1


@pytest.mark.parametrize("what", ["losses", "selections", "noise", "backbones"])
def test_list_prints_name_summary_and_options_of_every_entry(what: str, dml: Any) -> None:
    table = dml(f"list {what}").out
    for entry in strict_json(dml(f"list {what} --json").out):
        assert {"name", "summary", "options"} <= set(entry)
        assert entry["name"] in table


def test_list_tells_defaults_and_ranges(dml: Any) -> None:
    found = strict_json(dml("list losses --json").out)
    entry = next(each for each in found if each["name"] == "proxy-anchor")
    scale = {"default": 32.0, "expected": "a number above 0", "required": False}
    assert entry["options"]["scale"] == scale
    assert "scale=32.0 (above 0)" in dml("list losses").out


def test_info_tells_about_a_store_and_about_a_run(home: Path, dml: Any) -> None:
    dml(f"train --loss contrastive {FAST}")
    assert strict_json(dml("info --json").out)["backbone"] == "resnet50"
    run = strict_json(dml("info runs/contrastive --json").out)
    assert run["settings"]["loss"] == "contrastive"
    assert len(run["history"]["loss"]) == 3
    assert "resnet50" in dml("info").out
    assert "contrastive" in dml("info runs/contrastive").out


def test_demo_prints_its_table_and_its_json(dml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Retrieval({1: 0.5, 2: 0.75}, 0.5, 0.25, 0.125, 10, 0)
    rows = [Row("untrained", found, found, None, None, 0.0), Row("x", found, found, 0.8, 0.9, 2.0)]
    monkeypatch.setattr("pipeline.demo.demo", lambda *_, **__: rows)
    answer = strict_json(dml("demo --json").out)
    assert list(answer["rows"]) == ["untrained", "x"]
    assert answer["rows"]["x"]["noisy"]["recall@1"] == 50.0
    assert (answer["rows"]["x"]["found"], answer["rows"]["untrained"]["found"]) == (80.0, None)
    lines = dml("demo").out.splitlines()
    assert "40% wrong" in lines[0]
    assert lines[2].split() == ["x", "50.0", "50.0", "0.0", "80.0", "90.0"]


# Endings


def test_an_interrupted_training_leaves_nothing_behind(
    home: Path, dml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(home.rglob("*"))
    monkeypatch.setattr(cli, "stage", interrupting)
    answer = dml("train")
    assert answer.code == 130
    assert answer.out == ""
    assert answer.err.splitlines()[-1].startswith("dml: interrupted")
    assert "Traceback" not in answer.err
    assert sorted(home.rglob("*")) == before


def test_an_interrupted_extraction_goes_on(
    pictures: Path, dml: Any, flat_backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures.parent)
    with monkeypatch.context() as patch:
        patch.setattr(cli, "stage", interrupting)
        assert dml("extract pictures").code == 130
    assert strict_json(dml("info --json").out)["is_complete"] is False
    assert dml("train").code == 2
    assert dml("extract pictures").code == 0
    assert strict_json(dml("info --json").out)["is_complete"] is True


def test_debug_shows_the_traceback_and_its_absence_hides_it(home: Path, dml: Any) -> None:
    for words in ("--debug info nowhere", "info nowhere --debug"):
        answer = dml(words)
        assert answer.code == 2
        assert "Traceback (most recent call last)" in answer.err
    assert "Traceback" not in dml("info nowhere").err


def test_a_fault_of_the_program_is_one_line_too(
    home: Path, dml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("first line\nsecond line")

    monkeypatch.setattr("pipeline.record.free_path", fail)
    answer = dml("train")
    assert answer.code == 1
    assert answer.err.splitlines() == [
        "dml: unexpected ZeroDivisionError: first line: --debug shows where; please report"
    ]
