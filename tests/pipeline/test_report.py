"""Reports: what a page says of runs and ablations, and what it does with hostile names."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from cache import FeatureStore
from cache.errors import InputError
from pipeline.ablation.summary import Line
from pipeline.choices.settings import Settings
from pipeline.evaluate import evaluate_run
from pipeline.output.report_page import page_of, refuse_unusable, report_lines, save_report
from pipeline.report import Report, report
from pipeline.reporting.comparison import Comparison
from pipeline.reporting.measuring import measure
from pipeline.reporting.sources import Sources, open_sources
from pipeline.runs.record import Run
from pipeline.train import train

from .ablations import run as ablate
from .well_formed import checked

EVIL = "<script>alert('&amp;')</script>"


def trained(store: FeatureStore, path: Path, **settings: Any) -> Path:
    common: dict[str, Any] = {"loss": "prism", "noise": "symmetric:0.3", "dim": 8, "epochs": 2}
    return train(store, Settings(**common | settings), path, device="cpu").path


def made(sources: Sources, **options: Any) -> Report:
    return report(sources, **{"device": "cpu", "with_probe": False, **options})


def lines_of(sources: Sources) -> list[Line]:
    """The lines of the runs' table, without any drawing."""
    assert sources.store is not None
    rows = measure(sources.runs, sources.store, recall_at=(1,), device="cpu").rows
    return Comparison.of("runs", rows, metric=None, baseline=None).summary.lines


@pytest.fixture(scope="module", autouse=True)
def _flat_maps() -> Iterator[None]:
    """Lay maps out by their first two features: t-SNE takes a second each and has its own test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.reporting.embedding_map.in_plane", lambda rows: rows[:, :2])
        yield


@pytest.fixture(scope="module")
def runs(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of one method, one of another with a validation, and one that trains nothing."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        trained(store, folder / f"prism-{seed}", seed=seed)
    trained(store, folder / "other", loss="contrastive", validation="rows")
    trained(store, folder / "raw", loss="none")
    return folder


@pytest.fixture(scope="module")
def ablation(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablation") / "ablation"
    more = {"recall_at": (1, 2)}
    ablate(store, folder, loss="contrastive,prism", noise="0,symmetric:0.5", seeds=3, more=more)
    return folder


@pytest.fixture(scope="module")
def whole(runs: Path, ablation: Path) -> Report:
    return made(open_sources([*sorted(runs.iterdir()), ablation]), with_probe=True)


def test_the_table_has_the_figures_of_eval_and_the_untrained_features(
    whole: Report, runs: Path, store: FeatureStore
):
    summary = next(each for each in whole.comparisons if each.name == "runs").summary
    lines = {line.method: line for line in summary.lines if line.noise == "symmetric:0.3"}
    assert set(lines) == {"untrained", "prism", "contrastive", "none"}
    values = []
    for seed in range(3):
        run = Run.open(runs / f"prism-{seed}")
        rows = evaluate_run(run, store, recall_at=(1,), device="cpu").rows
        values.append(rows[run.path.name].recall[1])
        untrained = rows["untrained"].recall[1]
    assert lines["prism"].value is not None
    assert lines["prism"].value.mean == pytest.approx(np.mean(values))
    assert lines["prism"].seeds == 3
    for name in ("untrained", "none"):
        line = lines[name]
        assert line.value is not None
        assert line.value.mean == pytest.approx(untrained)
    assert lines["contrastive"].selected is not None
    assert lines["prism"].selected is None


def test_a_whole_report_has_every_section_and_says_what_it_left_out(whole: Report):
    sections = {section.key: section for section in whole.sections}
    assert list(sections) == ["noise", "recall", "training", "scores", "map", "pairs"]
    assert all(section.figures for section in sections.values())
    assert sections["scores"].left_out == (
        "other: contrastive, noise symmetric:0.3: its selection judges no label.",
        "raw: none, noise symmetric:0.3: its selection judges no label.",
    )
    assert "trains nothing" in sections["pairs"].left_out[0]
    names = [figure.name for section in whole.sections for figure in section.figures]
    assert len(names) == len(set(names))
    assert [each.name for each in whole.examples] == [
        "other: contrastive, noise symmetric:0.3",
        "prism-0, noise symmetric:0.3",
        "raw: none, noise symmetric:0.3",
    ]


def test_the_page_stands_for_itself(whole: Report):
    tags = checked(page_of(whole, command="dml report"))
    drawings = [attributes for tag, attributes in tags.seen if tag == "svg"]
    assert len(drawings) == sum(len(section.figures) for section in whole.sections)
    assert all(each["role"] == "img" and each["aria-label"] for each in drawings)
    text = " ".join(tags.text)
    for word in ("untrained", "paired by seed", "±", "dml report", "fingerprint", "torch", "✗"):
        assert word in text, word


def test_every_figure_is_a_file_with_its_numbers_beside_it(whole: Report, tmp_path: Path):
    page = tmp_path / "new" / "paper.html"
    written = save_report(whole, page, command="x")
    assert report_lines(whole, written)[0].startswith(f"{page}: {len(written) // 2} figures")
    folder = page.parent / "paper_files"
    assert sorted(written[1:]) == sorted(folder.iterdir())
    for section in whole.sections:
        for figure in section.figures:
            ElementTree.parse(folder / f"{figure.name}.svg")
            with open(folder / f"{figure.name}.csv", newline="", encoding="utf-8") as file:
                header, *rows = csv.reader(file)
            assert header == list(figure.data)
            assert [len(rows)] == list({len(column) for column in figure.data.values()})


def test_a_second_report_takes_the_place_of_the_first(whole: Report, runs: Path, tmp_path: Path):
    page = tmp_path / "report.html"
    save_report(whole, page, command="x")
    small = made(open_sources([runs / "raw"]))
    written = save_report(small, page, command="x")
    assert sorted(written) == sorted([page, *(tmp_path / "report_files").iterdir()])


def test_an_ablation_alone_needs_no_store(ablation: Path):
    found = made(open_sources([ablation]))
    assert [section.key for section in found.sections] == ["noise", "recall"]
    assert found.examples == ()
    checked(page_of(found, command="x"))


@pytest.mark.parametrize("name", ["raw", "prism-0"])
def test_one_bare_run_is_a_report(runs: Path, name: str):
    found = made(open_sources([runs / name]))
    (comparison,) = found.comparisons
    assert comparison.summary.lines[0].method == "untrained"
    tags = checked(page_of(found, command="x"))
    assert "Left out: a curve needs two rates" in " ".join(tags.text)


def test_a_run_without_noise_shows_the_scores_of_all_labels(store: FeatureStore, tmp_path: Path):
    path = trained(store, tmp_path / "clean", noise=None)
    found = made(open_sources([path]), with_probe=True)
    sections = {section.key: section for section in found.sections}
    (figure,) = sections["scores"].figures
    assert list(figure.data) == ["from", "to", "all labels"]
    assert "not known which labels are wrong" in sections["pairs"].left_out[0]
    checked(page_of(found, command="x"))


def test_names_of_users_stay_text(make_store: Any, tmp_path: Path):
    labels = [f"{EVIL}{row % 6}" if row % 6 else "$x^" for row in range(120)]
    splits = ["train"] * 60 + ["test"] * 60
    supers = [f'"><img src=x onerror=alert({row % 6})>' for row in range(120)]
    store = make_store(tmp_path / "evil.zarr", labels, splits, superlabels=supers)
    path = trained(store, tmp_path / "<b onclick=x>run<")
    tags = checked(page_of(made(open_sources([path])), command=f"dml report {EVIL}"))
    text = " ".join(tags.text)
    assert f"dml report {EVIL}" in text
    assert EVIL in text.replace("\n", "")


def test_pictures_that_are_gone_have_placeholders(whole: Report):
    tags = checked(page_of(whole, command="x"))
    pictures = [attributes for tag, attributes in tags.seen if tag == "img"]
    assert pictures
    assert len({each["src"] for each in pictures}) == 1  # the store's photos never were


def test_runs_of_other_stores_and_features_are_refused(runs: Path, make_store: Any, tmp_path: Path):
    other = make_store(tmp_path / "other.zarr", backbone="other")
    path = trained(other, tmp_path / "run")
    with pytest.raises(InputError, match="one report for each store"):
        open_sources([runs / "raw", path])
    shutil.copytree(runs / "raw", tmp_path / "max")
    config = tmp_path / "max" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"features": "max"}))
    with pytest.raises(InputError, match="one report for each kind of features"):
        open_sources([runs / "raw", tmp_path / "max"])


def test_runs_of_several_protocols_are_shown_apart(store: FeatureStore, tmp_path: Path):
    names = ("query-gallery", "class-disjoint")
    paths = [trained(store, tmp_path / name, protocol=name) for name in names]
    lines = lines_of(open_sources(paths))
    assert [(line.protocol, line.method) for line in lines] == [
        (name, method) for name in names for method in ("untrained", "prism")
    ]


def test_runs_that_cannot_be_told_apart_are_told_apart_by_their_folders(runs: Path, tmp_path: Path):
    shutil.copytree(runs / "prism-0", tmp_path / "copy")
    lines = lines_of(open_sources([runs / "prism-0", tmp_path / "copy"]))
    assert [line.options for line in lines if line.method == "prism"] == [
        f"({runs / 'prism-0'})",
        f"({tmp_path / 'copy'})",
    ]


def test_what_is_in_the_way_is_refused_before_anything_is_measured(tmp_path: Path):
    (tmp_path / "a_files").mkdir()
    (tmp_path / "a_files" / "notes.txt").write_text("mine")
    (tmp_path / "b.html").mkdir()
    for name in ("a.html", "b.html", "c.pdf"):
        with pytest.raises(InputError, match="--out"):
            refuse_unusable(tmp_path / name)


def test_the_command_writes_a_page_and_says_so(home: Path, dml: Any):
    assert dml("train --loss contrastive --noise symmetric:0.4 --epochs 2 --dim 8").code == 0
    answer = dml("report --json --recall 1,2")
    found = answer.json()
    assert found["page"] == "dml-out/report.html"
    assert all(Path(file).is_file() for file in [found["page"], *found["files"]])
    assert (found["runs"], found["ablations"]) == (1, 0)
    checked(Path(found["page"]).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("report nowhere", "neither a run nor an ablation"),
        (
            "report dml-out/runs",
            "neither a run nor an ablation: name the runs in it, dml-out/runs/*",
        ),
        ("report dml-out/runs/contrastive --metric recall@9", "recall@9"),
        ("report dml-out/runs/contrastive --baseline prism", "prism"),
        ("report dml-out/runs/contrastive --recall 0", "--recall"),
        ("report dml-out/runs/contrastive --out page.pdf", ".html"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(home: Path, dml: Any, line: str, word: str):
    dml("train --loss contrastive --epochs 1 --dim 8")
    assert word in dml(line).refusal()
    assert not list(home.glob("dml-out/report*"))
