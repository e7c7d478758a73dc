"""Figures: their numbers beside plain recomputation, and what they look like in a page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.axes import Axes
from scipy import stats

from pipeline.choices.settings import Settings
from pipeline.probe import Moment
from pipeline.reporting.comparison import Comparison, method_of, options_of
from pipeline.reporting.embedding_map import embedding_map, in_plane
from pipeline.reporting.figure import Figure, draw, in_legend, line_style
from pipeline.reporting.inline import inlined
from pipeline.reporting.measuring import Sample
from pipeline.reporting.noise_curves import noise_curves
from pipeline.reporting.noise_rates import noise_rates
from pipeline.reporting.pair_weights import pair_weights
from pipeline.reporting.recall_curves import recall_curves
from pipeline.reporting.score_histograms import BINS, score_histogram

HOSTILE = "</text><script>alert(1)</script> $x^$ _% \x07"


def row(method: str, noise: str | None, seed: int | None, recall: float, **more: Any) -> Any:
    rate = None if noise in (None, "0") else float(noise.partition(":")[2]) - 0.01
    return {
        "method": method,
        "options": "",
        "noise": noise,
        "protocol": "class-disjoint",
        "seed": seed,
        "failure": None,
        "realised_noise_rate": rate,
        "estimated_noise_rate": None,
        "detection_auc": None,
        "validation_map@r": None,
        "seconds": 1.0,
        "store": "f" * 64,
        "recall@1": recall,
        "recall@2": recall + 0.1,
        **more,
    }


ROWS = [row("untrained", None, None, 0.4)] + [
    row(method, noise, seed, base - 0.1 * level + 0.01 * seed * (level + 1))
    for level, noise in enumerate(["0", "symmetric:0.2", "symmetric:0.5"])
    for method, base in [("prism", 0.8), ("contrastive", 0.7)]
    for seed in range(3)
]


def compared(rows: list[Any] = ROWS) -> Comparison:
    return Comparison.of("x", rows, metric=None, baseline=None)


def simple(name: str = "a", label: str = "b") -> Figure:
    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], label=in_legend(label), **line_style(0))

    return draw(paint, name=name, title=label, x="x", y="y", data={"x": [0, 1]})


def lines_of(figure: Figure) -> list[dict[str, Any]]:
    return [
        dict(zip(figure.data, each, strict=True))
        for each in zip(*figure.data.values(), strict=True)
    ]


def test_noise_curves_hold_means_and_intervals_over_seeds():
    (figure,) = noise_curves(compared().summary, "noise")
    found = {(each["method"], each["noise"]): each for each in lines_of(figure)}
    assert len(found) == 9  # three methods with the untrained, at three rates
    for method in ("prism", "contrastive"):
        for noise, rate in [("0", 0.0), ("symmetric:0.2", 0.19), ("symmetric:0.5", 0.49)]:
            values = [r["recall@1"] for r in ROWS if (r["method"], r["noise"]) == (method, noise)]
            half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / np.sqrt(3)
            line = found[method, noise]
            assert line["rate"] == pytest.approx(rate)
            assert line["mean"] == pytest.approx(np.mean(values))
            assert line["interval"] == pytest.approx(half)
            assert line["seeds"] == 3
    assert found["untrained", "0"]["interval"] is None


def test_kinds_of_noise_have_panels_of_their_own_with_the_labels_as_given_in_each():
    more = [row("prism", "superclass:0.3", seed, 0.6) for seed in range(3)]
    figures = noise_curves(compared([*ROWS, *more]).summary, "noise")
    assert [figure.name for figure in figures] == ["noise-1", "noise-2"]
    assert "superclass" in figures[1].title
    assert {each["noise"] for each in lines_of(figures[1])} == {"0", "superclass:0.3"}


def test_one_rate_makes_no_curve():
    assert noise_curves(compared([r for r in ROWS if r["noise"] in (None, "0")]).summary, "n") == ()


def test_recall_curves_hold_every_k_of_every_method():
    figures = recall_curves(compared(), "recall")
    assert len(figures) == 3
    found = {(each["method"], each["k"]): each["mean"] for each in lines_of(figures[0])}
    for k in (1, 2):
        values = [r[f"recall@{k}"] for r in ROWS if (r["method"], r["noise"]) == ("prism", "0")]
        assert found["prism", k] == pytest.approx(np.mean(values))
        assert found["untrained", k] == pytest.approx(0.4 + 0.1 * (k - 1))
    one = [{key: value for key, value in r.items() if key != "recall@2"} for r in ROWS]
    assert recall_curves(compared(one), "recall") == ()


def test_a_method_has_its_place_and_colour_in_all_panels():
    """Here one method is measured on labels as given, and stands behind the other elsewhere."""
    noisy = [each for each in ROWS if each["noise"] != "0" and each["method"] != "untrained"]
    clean = [each for each in ROWS if (each["method"], each["noise"]) == ("prism", "0")]
    later = sorted(noisy, key=lambda each: str(each["method"]))
    for figure in recall_curves(compared([ROWS[0], *clean, *later]), "recall")[1:]:
        assert figure.svg.index(">prism<") < figure.svg.index(">contrastive<")


def test_noise_rates_are_shown_where_a_selection_knows_one():
    assert noise_rates(ROWS, "rates") == ()
    rows = [*ROWS, row("prism", "symmetric:0.2", 4, 0.5, estimated_noise_rate=0.25)]
    (figure,) = noise_rates(rows, "rates")
    (line,) = lines_of(figure)
    assert (line["method"], line["estimated_noise_rate"]) == ("prism", 0.25)
    assert line["realised_noise_rate"] == pytest.approx(0.19)


def test_histograms_count_right_and_wrong_labels_apart():
    generator = np.random.default_rng(0)
    scores = generator.random(500).astype(np.float32)
    wrong = generator.random(500) < 0.3
    table = pa.table({"score": scores, "is_wrong": wrong})
    figure = score_histogram(table, name="s", title="s")
    assert figure is not None
    for part, rows in [("right labels", ~wrong), ("wrong labels", wrong)]:
        expected = [0] * BINS
        for score in scores[rows]:
            expected[min(BINS - 1, int(score * BINS))] += 1
        assert list(figure.data[part]) == expected
    alone = score_histogram(table.drop_columns("is_wrong"), name="s", title="s")
    assert alone is not None
    assert sum(alone.data["all labels"]) == 500  # type: ignore[arg-type]


def test_a_selection_that_judges_nothing_has_no_histogram():
    assert score_histogram(pa.table({"score": [1.0, 1.0]}), name="s", title="s") is None


def test_pair_weights_keep_what_is_not_there_empty():
    moments = [Moment(0, 0.5, None, 0.5, 0.1), Moment(4, 0.2, None, 0.5, 0.1)]
    (pull,) = pair_weights({"a": moments})
    assert list(pull.data["wrong_pull"]) == [0.5, 0.2]
    assert pair_weights({}) == ()


def sample(count: int = 40, spread: float = 1.0) -> Sample:
    generator = np.random.default_rng(1)
    rows = spread * generator.standard_normal((count, 6)).astype(np.float32)
    return Sample(
        labels=[str(at % 12) for at in range(count)],
        ids=[f"{at}.jpg" for at in range(count)],
        is_suspect=np.arange(count) % 5 == 0,
        is_wrong=None,
        embeddings=rows,
        total=100,
    )


def test_a_map_says_which_rows_it_shows_and_is_the_same_again():
    one = embedding_map(sample(), {"0": "even"}, name="m", title="m")
    other = embedding_map(sample(), {"0": "even"}, name="m", title="m")
    assert one is not None
    assert other is not None
    assert one.svg == other.svg
    assert one.note.startswith("40 of 100 training rows")
    assert one.data["group"][:2] == ["even", "1"]
    assert "taken for wrong: 8" in one.svg
    assert embedding_map(sample(5), {}, name="m", title="m") is None


def test_rows_that_are_one_point_stay_one():
    assert not in_plane(np.ones((12, 4), dtype=np.float32)).any()
    assert not in_plane(sample(12, 0.0).embeddings).any()


def test_options_name_what_tells_runs_of_a_method_apart():
    one = Settings(loss="contrastive", epochs=3)
    other = Settings(loss="contrastive", epochs=5, seed=2, options={"loss.margin": 0.5})
    third = Settings(loss="prism", epochs=9)
    assert options_of([one, other, third]) == [
        "epochs=3 loss.margin=default",
        "epochs=5 loss.margin=0.5",
        "",
    ]
    assert method_of(Settings(loss="prism", selection="prism")) == "prism"
    assert method_of(Settings(loss="prism", selection="none")) == "prism+none"


def test_a_drawing_in_a_page_has_no_address_and_no_id_of_another():
    one, other = inlined(simple("a")), inlined(simple("b"))
    assert "http" not in one
    assert "xlink" not in one
    ids = [set(re.findall(r' id="([^"]+)"', each)) for each in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for each, own in zip((one, other), ids, strict=True):
        used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', each))
        assert used == own
    assert "var(--ink, #1b1f24)" in one
    assert not re.search(r"(?<!, )#[0-9a-f]{6}(?!\))", one)


def test_names_cannot_break_out_of_a_drawing():
    figure = simple("a", HOSTILE)
    ElementTree.fromstring(figure.svg)
    page = inlined(figure)
    assert "<script" not in page
    ElementTree.fromstring(page)


@pytest.mark.parametrize("name", ["_hidden", "a" * 300, "苹果 🍎", "$\\frac{", "&<>\"'"])
def test_any_name_can_stand_in_a_legend(name: str, tmp_path: Path):
    figure = simple("a", name)
    text = " ".join(ElementTree.fromstring(figure.svg).itertext())
    assert name[:40].strip() in text


def test_a_long_legend_makes_the_figure_longer_and_leaves_the_axes_room():
    def paint(axes: Axes) -> None:
        for number in range(30):
            style = line_style(number)
            axes.plot([0, 1], [number, 0], label=in_legend(f"method {number} " + "x" * 40), **style)

    figure = draw(paint, name="a", title="a", x="x", y="y", data={})
    height = float(re.search(r'viewBox="0 0 \S+ (\S+)"', figure.svg)[1])  # type: ignore[index]
    assert height > 550
