"""A map of embeddings: training rows in the plane, near where they are near (t-SNE)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pipeline.reporting.figure import INK, OTHER, SERIES, Figure, draw, in_legend
from pipeline.reporting.measuring import Sample

FEWEST = 10  # rows below which there is nothing to map
_COMPONENTS = 50
_PERPLEXITY = 30.0
# A third of the usual time: on 2,000 photos the trustworthiness of ten neighbours stays at 0.995.
_STEPS, _ANGLE = 500, 0.7
_SEED = 0
_HEIGHT = 3.7  # inches


def embedding_map(
    sample: Sample, groups: Mapping[str, str], *, name: str, title: str
) -> Figure | None:
    """Draw a map, coloured by class group, with the suspects marked.

    Where nothing was taken for wrong but the truth is known, the wrong labels are marked.

    Args:
        sample: rows and their embeddings.
        groups: label -> its group; a label that is not there is a group of its own.
        name: of the figure.
        title: of the figure.

    Returns:
        None with fewer than 10 rows.
    """
    if len(sample.labels) < FEWEST:
        return None
    places = in_plane(sample.embeddings)
    group = np.array([groups.get(label, label) for label in sample.labels])
    common = [each for each, _ in Counter(group.tolist()).most_common(len(SERIES))]
    marks, what = sample.is_suspect, "taken for wrong"
    if not marks.any() and sample.is_wrong is not None:
        marks, what = sample.is_wrong, "label is wrong"

    def paint(axes: Axes) -> None:
        for colour, each in zip(SERIES, common, strict=False):
            _points(axes, places[group == each], colour, each)
        _points(axes, places[~np.isin(group, common)], OTHER, "others", zorder=1)
        axes.plot(
            *places[marks].T,
            linestyle="none",
            marker="x",
            markersize=3,
            markeredgewidth=0.6,
            alpha=0.75,
            color=INK,
            zorder=3,
            label=f"{what}: {marks.sum():,}",
        )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)

    rows = f"{len(group):,} of {sample.total:,} training rows"
    return draw(
        paint,
        name=name,
        title=title,
        x="",
        y="",
        data=_data(sample, places, group),
        note=f"{rows}; t-SNE after PCA, seed {_SEED}. Distances between far groups mean nothing.",
        height=_HEIGHT,
    )


def in_plane(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lay rows (n, D) out in the plane, (n, 2): PCA, then t-SNE."""
    count, width = embeddings.shape
    if not np.ptp(embeddings, axis=0).any():  # all rows are one point
        return np.zeros((count, 2), dtype=np.float32)
    from sklearn.decomposition import PCA  # a second to import, which other figures need not wait
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    components = min(_COMPONENTS, count, width)
    reduced = PCA(components, random_state=_SEED).fit_transform(embeddings)
    perplexity = min(_PERPLEXITY, (count - 1) / 3)
    layout = TSNE(
        2,
        perplexity=perplexity,
        max_iter=_STEPS,
        angle=_ANGLE,
        init="random",
        random_state=_SEED,
    )
    if components >= 2:
        layout.set_params(init="pca")
    # Threads wait for each other at every step: on a busy machine they take three times as long.
    with threadpool_limits(1, "openmp"):
        return cast("NDArray[np.float32]", layout.fit_transform(reduced))


def _points(
    axes: Axes, places: NDArray[np.float32], colour: str, name: str, zorder: int = 2
) -> None:
    if len(places):
        axes.plot(
            *places.T,
            linestyle="none",
            marker="o",
            markersize=2.6,
            markeredgewidth=0,
            color=colour,
            label=in_legend(name),
            zorder=zorder,
        )


def _data(
    sample: Sample, places: NDArray[np.float32], group: Sequence[str] | NDArray[np.str_]
) -> dict[str, Sequence[object]]:
    truth = [None] * len(sample.ids) if sample.is_wrong is None else sample.is_wrong.tolist()
    return {
        "id": sample.ids,
        "label": sample.labels,
        "group": list(group),
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        "is_suspect": sample.is_suspect.tolist(),
        "is_wrong": truth,
    }
