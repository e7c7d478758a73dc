"""What a noise model gets and gives, and the draw of the rows that it flips."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Mode = Literal["exact", "independent"]


class Subject(NamedTuple):
    """The N training rows whose labels are made wrong.

    Attributes:
        labels: (N,) int64 in 0..C-1, as given.
        classes: C names, numbers by value and before all other names.
        ids: N row ids.
        paths: N image paths, as in the manifest.
        superlabels: N names, where the manifest has them.
        features: gives the frozen features (n, F) of rows (n,); a copy of all would be large.
        manifest: digest of the manifest that the rows come from.
    """

    labels: Labels
    classes: tuple[str, ...]
    ids: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    superlabels: tuple[str, ...] | None = None
    features: Callable[[Labels], NDArray[np.floating]] | None = None
    manifest: str = ""


class Corrupted(NamedTuple):
    """What became of the labels.

    Attributes:
        labels: (N,) int64, numbers into `classes`.
        classes: names of the classes that are left, and of those that came in.
        nominal: the share of wrong labels that was asked for; None where nobody said one.
    """

    labels: Labels
    classes: tuple[str, ...]
    nominal: float | None


def flipped_rows(
    generator: np.random.Generator, count: int, rate: float, mode: Mode
) -> NDArray[np.bool_]:
    """Draw which rows flip: (count,) bool.

    Args:
        generator: draws them.
        count: number of rows.
        rate: their share, in [0, 1].
        mode: "exact" takes round(rate * count) rows, "independent" each with that probability.
    """
    if mode == "exact":
        return generator.permutation(count) < round(rate * count)
    return generator.random(count) < rate
