"""From rows to lines: means, intervals, the baseline, and what validation prefers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cache.errors import InputError
from pipeline.ablation.summary import Line, Summary, summarise
from pipeline.measures.intervals import mean_and_interval

COLUMNS = {
    "method": "a",
    "options": "",
    "noise": "0",
    "protocol": "class-disjoint",
    "seed": 0,
    "failure": None,
    "realised_noise_rate": None,
    "detection_auc": None,
    "validation_map@r": None,
    "recall@1": None,
    "map@r": None,
    "selected_recall@1": None,
    "selected_map@r": None,
    "seconds": 1.0,
    "store": "f" * 64,
}


def rows(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**COLUMNS, **change} for change in changes]


def runs(method: str, *values: float, **others: Any) -> list[dict[str, Any]]:
    return rows(
        *(
            {"method": method, "seed": seed, "recall@1": value, **others}
            for seed, value in enumerate(values)
        )
    )


UNTRAINED = rows(
    {"method": "untrained", "noise": None, "seed": None, "recall@1": 0.5, "seconds": None}
)


def lines(summary: Summary) -> dict[str, Line]:
    return {f"{line.method} {line.options}".strip(): line for line in summary.lines}


def test_a_line_has_mean_interval_and_paired_difference():
    found = lines(summarise([*UNTRAINED, *runs("a", 0.6, 0.7, 0.8), *runs("b", 0.7, 0.9, 0.8)]))
    assert list(found) == ["untrained", "a", "b"]
    value, difference = found["b"].value, found["b"].difference
    assert value is not None
    assert difference is not None
    assert (value.mean, value.half) == mean_and_interval(np.array([0.7, 0.9, 0.8]))
    assert (difference.mean, difference.half) == pytest.approx(
        mean_and_interval(np.array([0.1, 0.2, 0.0]))
    )
    assert found["a"].difference is None
    assert found["b"].seconds == 3
    assert found["b"].seeds == 3


def test_the_untrained_features_have_one_figure_for_all_seeds():
    found = summarise([*UNTRAINED, *runs("a", 0.6, 0.7)], baseline="untrained")
    difference = lines(found)["a"].difference
    assert difference is not None
    assert difference.mean == pytest.approx(0.15)
    assert difference.half > 0
    assert lines(found)["untrained"].difference is None


def test_every_noise_has_the_untrained_line_and_a_baseline_of_its_own():
    noisy = {"noise": "symmetric:0.5", "realised_noise_rate": 0.49}
    found = summarise(
        [
            *UNTRAINED,
            *runs("a", 0.6),
            *runs("b", 0.7),
            *runs("a", 0.3, **noisy),
            *runs("b", 0.5, **noisy),
        ]
    )
    assert [(line.noise, line.method) for line in found.lines] == [
        (noise, method) for noise in ("0", "symmetric:0.5") for method in ("untrained", "a", "b")
    ]
    assert found.lines[-1].difference is not None
    assert found.lines[-1].difference.mean == pytest.approx(0.2)
    assert found.lines[-1].realised == 0.49


def test_validation_picks_the_options_whatever_the_test_rows_say():
    table = [
        *UNTRAINED,
        *runs("a", 0.9, 0.9, options="lr=1", **{"validation_map@r": 0.2}),
        *runs("a", 0.5, 0.5, options="lr=2", **{"validation_map@r": 0.3}),
        *runs("b", 0.6, 0.6, options="lr=1", **{"validation_map@r": 0.4}),
        *runs("b", 0.6, 0.6, options="lr=2", **{"validation_map@r": 0.1}),
    ]
    found = lines(summarise(table))
    assert [name for name, line in found.items() if line.is_preferred] == ["a lr=2", "b lr=1"]
    difference = found["b lr=1"].difference
    assert found["a lr=2"].difference is None
    assert difference is not None
    assert difference.mean == pytest.approx(0.1)


def test_without_validation_the_first_options_of_the_baseline_are_compared_with():
    table = [*UNTRAINED, *runs("a", 0.9, options="lr=1"), *runs("a", 0.5, options="lr=2")]
    found = lines(summarise(table))
    assert found["a lr=1"].difference is None
    assert found["a lr=2"].difference is not None
    assert not any(line.is_preferred for line in found.values())


def test_a_metric_of_the_selected_epoch_keeps_the_untrained_figure():
    chosen = {"validation_map@r": 0.2, "selected_recall@1": 0.8}
    found = lines(summarise([*UNTRAINED, *runs("a", 0.6, **chosen)], metric="selected_recall@1"))
    assert found["a"].value is not None
    assert found["a"].value.mean == 0.8
    assert found["untrained"].value is not None
    assert found["untrained"].value.mean == 0.5
    assert found["untrained"].difference is not None
    assert found["untrained"].difference.mean == pytest.approx(-0.3)


def test_a_failed_baseline_leaves_the_others_without_a_difference():
    failed = rows({"method": "a", "failure": "diverged", "seconds": None})
    found = lines(summarise([*UNTRAINED, *failed, *runs("b", 0.6)]))
    assert (found["a"].value, found["a"].failure, found["a"].seconds) == (None, "diverged", None)
    assert found["b"].difference is None


def test_an_unknown_metric_or_baseline_is_refused():
    table = [*UNTRAINED, *runs("alpha", 0.6)]
    with pytest.raises(InputError, match="unknown metric 'recall@7': did you mean 'recall@1'"):
        summarise(table, metric="recall@7")
    with pytest.raises(InputError, match="unknown metric 'map@r'"):  # which no row has
        summarise(table, metric="map@r")
    with pytest.raises(InputError, match="unknown baseline 'alpa': did you mean 'alpha'"):
        summarise(table, baseline="alpa")
