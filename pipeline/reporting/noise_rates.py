"""How well selections know the noise: the rate that they work with against the true one."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from pipeline.choices.grid import UNTRAINED
from pipeline.reporting.figure import OTHER, Figure, draw, in_legend, line_style
from pipeline.runs.results import Row

_FIELDS = ("method", "options", "noise", "seed", "realised_noise_rate", "estimated_noise_rate")


def noise_rates(rows: Sequence[Row], name: str) -> tuple[Figure, ...]:
    """Draw a point for each run whose selection was given a rate or has estimated it.

    Args:
        rows: as in the results of an ablation.
        name: of the figure.

    Returns:
        One figure; none where no selection knows a rate, or no noise was injected.
    """
    known = [
        row
        for row in rows
        if row["method"] != UNTRAINED and row["estimated_noise_rate"] is not None
    ]
    if not any(row["realised_noise_rate"] for row in known):
        return ()
    methods = list(dict.fromkeys(row["method"] for row in rows if row["method"] != UNTRAINED))

    def paint(axes: Axes) -> None:
        most = 100 * max(_true(row) for row in known)
        axes.plot([0, most], [0, most], color=OTHER, linestyle=(0, (1, 2)), linewidth=1.2)
        for number, method in enumerate(methods):
            own = [row for row in known if row["method"] == method]
            # Hollow and of several sizes: estimates of two methods are often the same.
            size = 9 - 2 * (number % 3)
            style = line_style(number) | {"linestyle": "none", "fillstyle": "none"}
            style |= {"markersize": size, "markeredgewidth": 1.5}
            values = [100 * row["estimated_noise_rate"] for row in own]
            places = [100 * _true(row) for row in own]
            axes.plot(places, values, label=in_legend(method) if own else None, **style)
        axes.set_xlim(left=-1)
        axes.set_ylim(bottom=-1)

    return (
        draw(
            paint,
            name=name,
            title="Noise rate: what selections work with, and the truth",
            x="labels changed, %",
            y="given or estimated, %",
            data={field: [row[field] for row in known] for field in _FIELDS},
            note="A point for each run. Dotted: the truth, of labels that were right before.",
        ),
    )


def _true(row: Row) -> float:
    return float(row["realised_noise_rate"] or 0)
