"""The table of an ablation in its three layouts and as JSON."""

from __future__ import annotations

import json
import math

import pytest
from rich.console import Console

from pipeline.ablation.summary import Estimate, Line, Summary
from pipeline.measures.comparison import Difference
from pipeline.output.ablation_lines import Format, ablation_json, ablation_lines, failure_line

PLAIN = Line(
    protocol="class-disjoint",
    noise="symmetric:0.5",
    realised=0.498,
    method="some_loss|x",
    options="select.noise_rate=0.3",
    seeds=5,
    value=Estimate(0.765, 0.0123),
    difference=Difference(-0.05, 0.02, 5),
    selected=None,
    validation=None,
    is_preferred=False,
    auc=0.9876,
    seconds=3.21,
    failure=None,
)


def with_(**changes: object) -> Line:
    return Line(**{**PLAIN.__dict__, **changes})  # type: ignore[arg-type]


def written(*lines: Line, layout: Format = "text", metric: str = "recall@1") -> str:
    summary = Summary(metric, "baseline", list(lines), "f" * 64)
    console = Console(width=100)
    with console.capture() as capture:
        for line in ablation_lines(summary, layout):
            console.print(line, highlight=False, markup=False, soft_wrap=isinstance(line, str))
    return capture.get()


def test_figures_are_percent_with_their_intervals():
    found = written(PLAIN).splitlines()
    assert found[0] == "labels symmetric:0.5 (49.8 % changed)"
    name = "some_loss|x select.noise_rate=0.3"
    assert found[2].split()[:2] == name.split()
    assert found[2].endswith("76.5 ± 1.2 -5.0 ± 2.0 0.988     3.2")
    assert "mean ± 95 % interval over 5 seeds; difference: to baseline" in found[4]


def test_one_seed_prints_no_interval():
    single = {"value": Estimate(0.5, math.nan), "difference": Difference(0.1, math.nan, 1)}
    found = written(with_(seeds=1, **single))
    assert "±" not in found
    assert "+10.0" in found
    assert "mean over 1 seed;" in found


def test_markdown_escapes_names():
    found = written(PLAIN, layout="markdown").splitlines()
    assert r"some\_loss\|x select.noise\_rate=0.3" in found[2]
    assert {line.replace(r"\|", "").count("|") for line in found[:3]} == {7}


def test_latex_escapes_names_and_writes_a_minus():
    found = written(PLAIN, layout="latex")
    assert r"some\_loss|x select.noise\_rate=0.3" in found
    assert r"symmetric:0.5 (49.8 \% changed)" in found
    assert r"76.5 $\pm$ 1.2 & $-$5.0 $\pm$ 2.0 & 0.988 & 3.2 \\" in found
    strange = written(with_(method="a&b\\{c}^~#$"), layout="latex")
    assert r"a\&b\textbackslash{}\{c\}\textasciicircum{}\textasciitilde{}\#\$" in strange


@pytest.mark.parametrize("layout", ["text", "markdown", "latex"])
def test_what_validation_prefers_is_marked_and_explained(layout: Format):
    chosen = {"selected": Estimate(0.7, 0.01), "validation": 0.6, "is_preferred": True}
    found = written(with_(**chosen), layout=layout)
    assert found.count("*") == 2
    assert "the test rows were not used to choose" in found
    assert "val map@r" in found
    again = written(with_(**chosen), layout=layout, metric="selected_recall@1")
    assert "selected epoch" in again
    assert "selected: at" not in again


def test_a_failed_cell_says_why():
    found = written(PLAIN, with_(method="other", value=None, difference=None, failure="diverged"))
    assert "failed" in found
    assert found.splitlines()[-1] == "failed: other select.noise_rate=0.3: diverged"
    assert failure_line(["a: b"], 3) == "1 of 3 cells failed: a: b"
    assert "and 1 more" in failure_line(["a: b", "c: d"], 3)


def test_two_protocols_are_told_apart():
    found = written(PLAIN, with_(protocol="query-gallery"))
    assert "labels class-disjoint, symmetric:0.5" in found
    assert "labels query-gallery, symmetric:0.5" in found


def test_json_has_no_nan():
    line = with_(value=Estimate(0.5, math.nan))
    found = ablation_json(Summary("recall@1", "baseline", [line], "f" * 64))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["lines"][0]["value"] == {"mean": 50.0, "interval": None}
