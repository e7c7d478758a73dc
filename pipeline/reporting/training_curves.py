"""What happened while runs trained: loss, kept share and validation, by epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.choices.grid import CLEAN
from pipeline.reporting.comparison import method_of, noise_of, options_of
from pipeline.reporting.figure import OTHER, Figure, draw, in_legend, line_style
from pipeline.runs.record import Run

Curve = tuple[list[float], list[float | None]]  # epochs, values
KEPT = "training-kept"
_FIELDS = ("run", "method", "seed", "epoch", "value")


def training_curves(runs: Sequence[Run]) -> tuple[Figure, ...]:
    """Draw what runs recorded of their epochs, a line for each run, a colour for each method."""
    panels: tuple[tuple[str, str, str, str, Callable[[Run], Curve]], ...] = (
        (
            "loss",
            "Loss",
            "loss / that of epoch 1",
            "Losses of different methods have different units: each is divided by its first value.",
            _loss,
        ),
        (
            "kept",
            "Kept share",
            "mean weight of rows",
            "1: no label is doubted. Dotted: the share of labels that the noise left as they were.",
            _kept,
        ),
        ("validation", "Validation", "MAP@R on held-out rows", "", _validation),
    )
    figures = []
    for name, title, y, note, read in panels:
        curves = [(run, read(run)) for run in runs]
        known = [(run, curve) for run, curve in curves if any(v is not None for v in curve[1])]
        if known:
            figures.append(_panel(known, f"training-{name}", title, y, note))
    return tuple(figures)


def _panel(curves: Sequence[tuple[Run, Curve]], name: str, title: str, y: str, note: str) -> Figure:
    keys = _keys([run for run, _ in curves])
    numbers = {key: at for at, key in enumerate(dict.fromkeys(keys))}

    def paint(axes: Axes) -> None:
        labelled: set[str] = set()
        for key, (_, (epochs, values)) in zip(keys, curves, strict=True):
            style = line_style(numbers[key]) | {"linewidth": 1.3, "markersize": 3}
            label = None if key in labelled else in_legend(key)
            labelled.add(key)
            # matplotlib draws a gap where a value is missing.
            known = [float("nan") if value is None else value for value in values]
            every = max(1, len(epochs) // 12)
            axes.plot(epochs, known, label=label, markevery=every, **style)
        for rate in {_rate(run) for run, _ in curves} - {0.0} if name == KEPT else ():
            axes.axhline(1 - rate, color=OTHER, linestyle=(0, (1, 2)), linewidth=1.2)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    rows = [
        (run.path.name, method_of(run.settings), run.settings.seed, int(epoch), value)
        for run, (epochs, values) in curves
        for epoch, value in zip(epochs, values, strict=True)
    ]
    data = {field: [row[at] for row in rows] for at, field in enumerate(_FIELDS)}
    return draw(paint, name=name, title=title, x="epoch", y=y, data=data, note=note)


def _keys(runs: Sequence[Run]) -> list[str]:
    """Name what runs of different seeds have in common."""
    options = options_of([run.settings for run in runs])
    methods = [
        " ".join(filter(None, [method_of(run.settings), option]))
        for run, option in zip(runs, options, strict=True)
    ]
    noises = [noise_of(run.settings) for run in runs]
    if len(set(noises)) == 1:
        return methods
    return [
        f"{method}, {'labels as given' if noise == CLEAN else noise}"
        for method, noise in zip(methods, noises, strict=True)
    ]


def _rate(run: Run) -> float:
    return float(run.record["noise"]["realised_rate"]) if run.record["noise"] else 0.0


def _history(run: Run, name: str) -> Curve:
    values = run.record["history"].get(name, [])
    return [float(epoch) for epoch in range(1, len(values) + 1)], values


def _kept(run: Run) -> Curve:
    return _history(run, "kept")


def _loss(run: Run) -> Curve:
    epochs, values = _history(run, "loss")
    first = values[0] if values and values[0] else 1.0
    return epochs, [None if value is None else value / abs(first) for value in values]


def _validation(run: Run) -> Curve:
    history = run.record["history"]
    return history.get("validated_epoch", []), history.get("validation_map@r", [])
