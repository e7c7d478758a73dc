"""One figure: drawn by matplotlib, kept as SVG beside the numbers that it shows.

Figures are small, one panel each, so that they can be read on a phone; a page puts them side by
side. Colours are those of the pages' style, where they are variables that turn dark with the page.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

INK, MUTED, LINE, GROUND = "#1b1f24", "#5b6470", "#d9dce1", "#ffffff"
SERIES = ("#0b62a8", "#c8500a", "#12806a", "#9b3f86", "#93710a", "#3b93c4", "#5f4fc0")
OTHER = "#6b7280"  # what the others are compared with
_DASHES = ("solid", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))
_MARKERS = "osD^vP"
_WIDTH, _HEIGHT = 4.6, 3.1  # inches
_LINE = 0.19  # of a legend; two fit into the height
_LONGEST = 46  # letters of a name in a legend
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dml",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.facecolor": GROUND,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": GROUND,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}
# With all of these None nothing is written: a date would make every file new.
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing and its numbers.

    Attributes:
        name: for files, of small letters, digits and dashes.
        title: what it shows, in a few words.
        note: what there is to know besides; may be empty.
        svg: a whole SVG document on white ground.
        data: column -> its values, all equally many.
    """

    name: str
    title: str
    note: str
    svg: str
    data: Mapping[str, Sequence[object]]


def draw(
    paint: Callable[[Axes], None],
    *,
    name: str,
    title: str,
    x: str,
    y: str,
    data: Mapping[str, Sequence[object]],
    note: str = "",
    height: float = _HEIGHT,
) -> Figure:
    """Draw one panel with its legend below.

    Args:
        paint: draws into the axes; what it gives a label stands in the legend.
        name: as in `Figure`.
        title: as in `Figure`.
        x: what the horizontal axis is; empty for an axis without meaning.
        y: the same of the vertical one.
        data: as in `Figure`.
        note: as in `Figure`.
        height: of the whole in inches; a long legend adds to it.
    """
    written = io.StringIO()
    with rc_context(_STYLE), warnings.catch_warnings():
        # The page's reader has typefaces of their own, with more letters than matplotlib's.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas = Canvas(figsize=(_WIDTH, height), layout="constrained")
        axes = canvas.add_subplot()
        axes.set_xlabel(_printable(x))
        axes.set_ylabel(_printable(y))
        paint(axes)
        _explain(canvas, axes)
        canvas.savefig(written, format="svg", metadata=_NO_METADATA)
    return Figure(name=name, title=_printable(title), note=note, svg=written.getvalue(), data=data)


def keep_percent(axes: Axes) -> None:
    """Let the vertical axis end at 0 and 100, where intervals may not."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(0.0, low), min(103.0, high))


def line_style(number: int) -> dict[str, Any]:
    """Tell lines apart by colour and marker, and by dashes where there are more than colours."""
    return {
        "color": SERIES[number % len(SERIES)],
        "linestyle": _DASHES[number // len(SERIES) % len(_DASHES)],
        "marker": _MARKERS[number % len(_MARKERS)],
    }


def in_legend(name: str) -> str:
    """Make a name fit for a legend: short, printable, and not hidden for an underscore."""
    text = _printable(name)
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return f" {text}" if text.startswith("_") else text


def _printable(text: str) -> str:
    """Put a mark in the place of letters that no XML may hold."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _explain(canvas: Canvas, axes: Axes) -> None:
    """Put the legend below the axes, in as many columns as the longest name allows."""
    handles, names = axes.get_legend_handles_labels()
    if not handles:
        return
    widest = 34 + 5.2 * max(map(len, names))  # points, with the line before the name
    columns = max(1, min(4, int(72 * _WIDTH / widest)))
    legend = canvas.legend(handles, names, loc="outside lower left", ncols=columns)
    lines = -(-len(names) // columns)
    canvas.set_figheight(canvas.get_figheight() + _LINE * max(0, lines - 2))
    for handle in legend.legend_handles:
        if isinstance(handle, Line2D):
            handle.set_markersize(5)  # however small it is in the drawing
