"""The command line: help, results for people and for programs, exit codes, what is left behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import typer

import cli


def commands_of(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by the words that call it; groups such as `dml noise` are opened."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


COMMANDS: dict[str, Any] = dict(commands_of(typer.main.get_command(cli.app)))
FAST = "--dim 16 --epochs 3"
PRISM = f"--loss prism {FAST}"


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


def test_help_and_lists_import_nothing_heavy() -> None:
    program = (
        "import sys, cli\n"
        "for words in (['--help'], ['train', '--help'], [], ['list'], ['list', 'selections'],\n"
        "              ['list', 'noise', '--json'], ['list', 'backbones'], ['list', 'datasets']):\n"
        "    assert cli.main(words) == 0, words\n"
        "heavy = {'torch', 'torchvision', 'timm', 'zarr', 'pyarrow', 'matplotlib'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)


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
    for name in ("cache", "pipeline", "cli", "dml"):
        assert set(owners.get(name, ["dml"])) == {"dml"}


# Train, then evaluate


def test_bare_train_then_bare_eval_works(home: Path, dml: Any) -> None:
    trained = dml("train")
    assert trained.code == 0
    assert trained.out.startswith("dml-out/runs/auto: 192 rows of 12 classes")
    assert "features.zarr" in trained.err
    found = dml("eval")
    assert found.code == 0
    for word in ("recall@1", "recall@2", "recall@4", "recall@8", "prec@1", "r-prec", "map@r"):
        assert word in found.out
    untrained, auto = found.out.splitlines()[1:3]
    assert (untrained.split()[0], auto.split()[0]) == ("untrained", "auto")
    assert float(auto.split()[1]) > float(untrained.split()[1])
    assert "dml-out/runs/auto" in found.err
    assert "96 test rows searched among 192 gallery rows" in found.err


def test_runs_are_numbered_and_eval_takes_the_latest(home: Path, dml: Any) -> None:
    assert dml(f"train --json {PRISM}").json()["run"] == "dml-out/runs/prism"
    assert dml(f"train --json {PRISM}").json()["run"] == "dml-out/runs/prism-2"
    last = dml(f"train --json --loss contrastive {FAST}").json()["run"]
    assert last == "dml-out/runs/contrastive"
    assert dml("eval --json").json()["run"] == last
    # Renaming a run does not make it the latest, nor does touching its files.
    (home / "dml-out" / "runs" / "prism").rename(home / "dml-out" / "runs" / "zebra")
    (home / "dml-out" / "runs" / "zebra" / "record.json").touch()
    assert dml("eval --json").json()["run"] == last


def test_a_run_is_repeated_bit_for_bit_by_its_configuration(home: Path, dml: Any) -> None:
    options = "--set loss.margin=0.2 --noise symmetric:0.3 --seed 5"
    assert dml(f"train --loss smooth-proxy-anchor {options} --run first {FAST}").code == 0
    assert dml("train --config first --run second").code == 0
    assert dml("train --config first/config.json --run third").code == 0
    assert content(home / "first") == content(home / "second") == content(home / "third")
    measured = [dml(f"eval {name} --json").json() for name in ("first", "second")]
    assert measured[0]["trained"] == measured[1]["trained"]


def test_options_beside_a_configuration_change_it(home: Path, dml: Any) -> None:
    dml(f"train --run first --seed 5 {PRISM}")
    again = dml("train --config first --run second --seed 6 --json").json()
    assert (again["settings"]["seed"], again["settings"]["dim"]) == (6, 16)


def test_eval_of_the_recipe_none_has_only_the_untrained_row(home: Path, dml: Any) -> None:
    assert dml("train --loss none").code == 0
    found = dml("eval --json").json()
    assert found["trained"] is None
    assert found["untrained"]["recall@1"] > 0


def test_labels_that_appear_only_in_test_are_counted_and_left_out(
    home: Path, dml: Any, make_store: Any
) -> None:
    labels = [str(row % 12) for row in range(280)] + ["strange"] * 8
    make_store(home / "some.zarr", labels=labels)
    dml(f"train --store some.zarr {PRISM}")
    found = dml("eval --json").json()
    assert (found["protocol"], found["queries"], found["unmatched"]) == ("query-gallery", 88, 8)
    assert "8 without a match were left out" in dml("eval").err


def test_if_all_test_labels_are_new_the_test_rows_search_among_themselves(
    home: Path, dml: Any, make_store: Any
) -> None:
    labels = [str(row % 12) if row < 192 else f"new {row % 6}" for row in range(288)]
    make_store(home / "all.zarr", labels=labels)
    trained = dml(f"train --store all.zarr --json {PRISM}").json()
    assert trained["counts"] == {"train": 192, "query": 96, "gallery": 96, "train_classes": 12}
    found = dml("eval --json").json()
    assert (found["protocol"], found["queries"], found["unmatched"]) == ("class-disjoint", 96, 0)


def test_the_confidence_selection_takes_fewer_rows_than_folds(
    home: Path, dml: Any, make_store: Any
) -> None:
    make_store(home / "few.zarr", labels=["a", "b"] * 3, splits=["train"] * 3 + ["test"] * 3)
    assert dml(f"train --store few.zarr --select confidence {PRISM}").code == 0


# Endings


def test_an_interrupted_training_leaves_nothing_behind(
    home: Path, dml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(home.rglob("*"))
    monkeypatch.setattr("pipeline.commands.train.stage", interrupting)
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
        patch.setattr("pipeline.commands.extract.stage", interrupting)
        assert dml("extract pictures").code == 130
    assert dml("info --json").json()["is_complete"] is False
    assert dml("train").code == 2
    assert dml("extract pictures").code == 0
    assert dml("info --json").json()["is_complete"] is True


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

    monkeypatch.setattr("pipeline.runs.record.free_path", fail)
    answer = dml("train")
    assert answer.code == 1
    assert answer.err.splitlines() == [
        "dml: unexpected ZeroDivisionError: first line: --debug shows where; please report"
    ]
