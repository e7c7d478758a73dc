"""How methods bear wrong labels: a metric against the share of labels that a noise changed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pipeline.ablation.summary import Line, Summary
from pipeline.choices.grid import CLEAN, UNTRAINED
from pipeline.labels.corruption import NoiseSpec
from pipeline.reporting.comparison import line_names
from pipeline.reporting.figure import OTHER, Figure, draw, in_legend, keep_percent, line_style

_FIELDS = ("method", "options", "noise", "rate", "mean", "interval", "seeds")


def noise_curves(summary: Summary, name: str) -> tuple[Figure, ...]:
    """Draw one panel for each protocol and kind of noise that has at least two rates.

    Labels as given stand at rate 0 in every panel. Bands are 95 % intervals over seeds.

    Args:
        summary: of a comparison.
        name: begins the figures' names.
    """
    panels: dict[tuple[str, str], list[Line]] = {}
    for line in summary.lines:
        if line.noise != CLEAN:
            panels.setdefault((line.protocol, _kind(line.noise)), []).append(line)
    figures: list[Figure] = []
    for (protocol, kind), lines in panels.items():
        clean = [
            line for line in summary.lines if line.noise == CLEAN and line.protocol == protocol
        ]
        lines = [*clean, *lines]
        if len({line.noise for line in lines}) > 1:
            title = f"{kind} noise, {protocol}"
            figures.append(_panel(summary, lines, f"{name}-{len(figures) + 1}", title))
    return tuple(figures)


def _kind(noise: str) -> str:
    """Name a noise without its rate."""
    spec = NoiseSpec.parse(noise)
    rest = [f"{key}={value}" for key, value in spec.options.items() if key != "rate"]
    return ", ".join([spec.name, *rest])


def _panel(summary: Summary, lines: Sequence[Line], name: str, title: str) -> Figure:
    names = line_names(summary.lines)  # of all panels: a method has one colour

    def paint(axes: Axes) -> None:
        for at, key in enumerate(key for key in names if key[0] != UNTRAINED):
            _curve(axes, [line for line in lines if (line.method, line.options) == key], at)
        untrained = [line for line in lines if line.method == UNTRAINED and line.value]
        if untrained and untrained[0].value:
            level = 100 * untrained[0].value.mean
            axes.axhline(level, color=OTHER, linestyle=(0, (2, 2)), label=UNTRAINED)
        axes.set_xlim(left=0)
        keep_percent(axes)

    return draw(
        paint,
        name=name,
        title=f"{summary.metric} under {title}",
        x="labels changed, %",
        y=f"{summary.metric}, %",
        data=_data(lines),
        note="Bands: 95 % interval of the mean over seeds.",
    )


def _curve(axes: Axes, lines: Sequence[Line], number: int) -> None:
    """Draw one method: its means, and the bands where there are several seeds."""
    points = sorted(
        (_rate(line), line.value.mean, line.value.half) for line in lines if line.value is not None
    )
    if not points:
        return
    rate, mean, half = 100 * np.array(points, dtype=float).T
    name = in_legend(" ".join(filter(None, [lines[0].method, lines[0].options])))
    style = line_style(number)
    # Labels as given lie on the axis itself, which would cut their marker.
    axes.plot(rate, mean, label=name, clip_on=False, zorder=3, **style)
    half = np.nan_to_num(half)
    axes.fill_between(rate, mean - half, mean + half, color=style["color"], alpha=0.18, linewidth=0)


def _rate(line: Line) -> float:
    return line.realised or 0.0


def _data(lines: Sequence[Line]) -> dict[str, list[object]]:
    rows = [
        (
            line.method,
            line.options,
            line.noise,
            _rate(line),
            line.value.mean,
            None if math.isnan(line.value.half) else line.value.half,
            line.seeds,
        )
        for line in lines
        if line.value is not None
    ]
    return {field: [row[at] for row in rows] for at, field in enumerate(_FIELDS)}
