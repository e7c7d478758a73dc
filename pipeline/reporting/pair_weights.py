"""Whose pairs losses listen to: the share of pair weight on wrong pairs, over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.probe import Moment
from pipeline.reporting.figure import Figure, draw, in_legend, line_style

_PANELS = (
    (
        "pull",
        "Weight that pulls wrong pairs together",
        "of different true classes but one label",
        "wrong_pull",
        "wrong_positives",
    ),
    (
        "push",
        "Weight that pushes wrong pairs apart",
        "of one true class but different labels",
        "wrong_push",
        "wrong_negatives",
    ),
)


def pair_weights(probed: Mapping[str, Sequence[Moment]]) -> tuple[Figure, ...]:
    """Draw the pull and the push of each run, beside what equal weights would give.

    Args:
        probed: name of a run -> points of its training.
    """
    return tuple(
        _panel(probed, key, title, what, share, alike)
        for key, title, what, share, alike in _PANELS
        if any(getattr(moment, share) is not None for each in probed.values() for moment in each)
    )


def _panel(
    probed: Mapping[str, Sequence[Moment]], key: str, title: str, what: str, share: str, alike: str
) -> Figure:
    rows = [
        (run, moment.epoch, getattr(moment, share), getattr(moment, alike))
        for run, moments in probed.items()
        for moment in moments
    ]

    def paint(axes: Axes) -> None:
        for number, (run, moments) in enumerate(probed.items()):
            style = line_style(number)
            epochs = [moment.epoch for moment in moments]
            axes.plot(epochs, _percent(moments, share), label=in_legend(run), **style)
            same = style | {"linestyle": (0, (1, 2)), "marker": "", "linewidth": 1.2}
            axes.plot(epochs, _percent(moments, alike), **same)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return draw(
        paint,
        name=f"pair-weights-{key}",
        title=title,
        x="epoch",
        y="share of the weight, %",
        data={
            "run": [row[0] for row in rows],
            "epoch": [row[1] for row in rows],
            share: [row[2] for row in rows],
            alike: [row[3] for row in rows],
        },
        note=f"Pairs {what}. Dotted: the same share with all pairs alike.",
    )


def _percent(moments: Sequence[Moment], name: str) -> list[float]:
    values = [getattr(moment, name) for moment in moments]
    return [float("nan") if value is None else 100 * value for value in values]
