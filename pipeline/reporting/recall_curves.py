"""Recall@K against K: whether right items come first, or at least soon."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from pipeline.ablation.summary import Line
from pipeline.choices.grid import CLEAN, UNTRAINED
from pipeline.reporting.comparison import Comparison, line_names
from pipeline.reporting.figure import OTHER, Figure, draw, in_legend, keep_percent, line_style
from pipeline.runs.results import metrics_of

_RECALL = re.compile(r"recall@(\d+)")
_FIELDS = ("method", "options", "k", "mean", "interval", "seeds")
Measured = dict[int, Line]  # K -> the line of a method in Recall@K


def recall_curves(comparison: Comparison, name: str) -> tuple[Figure, ...]:
    """Draw one panel for each protocol and noise; none where there are fewer than two K.

    Args:
        comparison: rows with Recall@K after the last epoch.
        name: begins the figures' names.
    """
    known = {int(found[1]) for each in metrics_of(comparison.rows) if (found := _recall(each))}
    if len(known) < 2:
        return ()
    panels: dict[tuple[str, str], dict[tuple[str, str], Measured]] = {}
    for k in sorted(known):
        for line in comparison.summary_of(f"recall@{k}").lines:
            panel = panels.setdefault((line.protocol, line.noise), {})
            if line.value is not None:
                panel.setdefault((line.method, line.options), {})[k] = line
    names = line_names(comparison.summary.lines)  # of all panels: a method has one colour
    return tuple(
        _panel(lines, names, f"{name}-{number}", protocol, noise)
        for number, ((protocol, noise), lines) in enumerate(panels.items(), start=1)
    )


def _recall(metric: str) -> re.Match[str] | None:
    return _RECALL.fullmatch(metric)


def _panel(
    methods: dict[tuple[str, str], Measured],
    names: Sequence[tuple[str, str]],
    name: str,
    protocol: str,
    noise: str,
) -> Figure:
    def paint(axes: Axes) -> None:
        trained = [key for key in names if key[0] != UNTRAINED]
        for key in filter(methods.__contains__, names):
            style = _untrained() if key[0] == UNTRAINED else line_style(trained.index(key))
            _curve(axes, key, methods[key], style)
        _ticks(axes, sorted({k for each in methods.values() for k in each}))
        keep_percent(axes)

    labels = "labels as given" if noise == CLEAN else f"labels with {noise}"
    return draw(
        paint,
        name=name,
        title=f"Recall@K, {labels}, {protocol}",
        x="K",
        y="Recall@K, %",
        data=_data([(k, line) for each in methods.values() for k, line in each.items()]),
        note="Bands: 95 % interval of the mean over seeds.",
    )


def _untrained() -> dict[str, object]:
    return {"color": OTHER, "linestyle": (0, (2, 2)), "marker": "x"}


def _curve(axes: Axes, key: tuple[str, str], lines: Measured, style: dict[str, object]) -> None:
    values = {k: line.value for k, line in lines.items() if line.value is not None}
    mean = 100 * np.array([each.mean for each in values.values()])
    half = 100 * np.nan_to_num([each.half for each in values.values()])
    places = list(values)
    axes.plot(places, mean, label=in_legend(" ".join(filter(None, key))), **style)  # type: ignore[arg-type]
    axes.fill_between(
        places, mean - half, mean + half, color=str(style["color"]), alpha=0.18, linewidth=0
    )


def _ticks(axes: Axes, known: Sequence[int]) -> None:
    """Give every doubling of K the same width."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(known, [str(k) for k in known])
    axes.xaxis.set_minor_locator(NullLocator())


def _data(lines: Sequence[tuple[int, Line]]) -> dict[str, list[object]]:
    rows = [
        (
            line.method,
            line.options,
            k,
            line.value.mean,
            None if math.isnan(line.value.half) else line.value.half,
            line.seeds,
        )
        for k, line in lines
        if line.value is not None
    ]
    return {field: [row[at] for row in rows] for at, field in enumerate(_FIELDS)}
