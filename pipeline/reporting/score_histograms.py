"""How a selection scores right and wrong labels: the further apart, the better it finds them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pipeline.reporting.figure import SERIES, Figure, draw

BINS = 40


def score_histogram(labels: pa.Table, *, name: str, title: str) -> Figure | None:
    """Draw the scores of right and wrong labels where the truth is known, else of all.

    Each histogram sums to 100 %, so that few wrong labels can be seen beside many right ones.

    Args:
        labels: of a run: score in [0, 1], low = suspicious, and is_wrong where it is known.
        name: of the figure.
        title: of the figure.

    Returns:
        None where all labels have one score: then nobody has judged them.
    """
    scores = labels["score"].to_numpy()
    if not len(scores) or scores.min() == scores.max():
        return None
    parts = {"all labels": np.ones(len(scores), dtype=bool)}
    if "is_wrong" in labels.column_names:
        is_wrong = np.array(labels["is_wrong"].to_pylist(), dtype=bool)
        parts = {"right labels": ~is_wrong, "wrong labels": is_wrong}
    edges = np.linspace(0, 1, BINS + 1)
    counts = {part: np.histogram(scores[rows], edges)[0] for part, rows in parts.items()}

    def paint(axes: Axes) -> None:
        for number, (part, found) in enumerate(counts.items()):
            colour = SERIES[number]
            share = _percent(found)
            axes.stairs(share, edges, color=colour, fill=True, alpha=0.25, linewidth=0)
            label = f"{part}: {found.sum():,}"
            dashes = "solid" if number == 0 else (0, (4, 1.5))
            axes.stairs(share, edges, color=colour, label=label, linewidth=1.6, linestyle=dashes)
        axes.set_xlim(0, 1)

    return draw(
        paint,
        name=name,
        title=title,
        x="score of the label (low = suspicious)",
        y="share of the labels, %",
        data={
            "from": edges[:-1].tolist(),
            "to": edges[1:].tolist(),
            **{part: found.tolist() for part, found in counts.items()},
        },
    )


def _percent(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(100 * counts, max(1, counts.sum()), dtype=np.float64)
