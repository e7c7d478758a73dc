"""Superclass noise: a share of the rows gets another class of the same superlabel.

Mistakes between alike classes, as people make them. Each other class of the superlabel is equally
likely. Rows of a class that is alone in its superlabel stay as they are: the rate is the share
among the others, so the realised share of all rows is smaller where there are such classes.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from cache.errors import InputError
from pipeline.noise._subject import Corrupted, Labels, Subject, flipped_rows


def corrupt(
    subject: Subject,
    generator: np.random.Generator,
    *,
    rate: Annotated[float, "at least 0, at most 1"],
    mode: Literal["exact", "independent"] = "exact",
) -> Corrupted:
    """Flip labels.

    Args:
        subject: N rows with superlabels, one for all rows of a class.
        generator: draws the rows and their new classes.
        rate: share of flipped rows among those whose class has a sibling, in [0, 1].
        mode: "exact" flips that share of these rows, rounded; "independent" flips each of them
            with that probability.

    Raises:
        InputError: there are no superlabels, a class has several, or no class has a sibling.
    """
    families = _families(subject)  # (C,)
    order = np.argsort(families, kind="stable")  # classes, family by family
    sizes = np.bincount(families)
    starts = np.cumsum(sizes) - sizes
    place = np.empty_like(order)
    place[order] = np.arange(len(order)) - starts[families[order]]  # of a class in its family
    rows = np.flatnonzero(sizes[families[subject.labels]] > 1)
    if not len(rows):
        raise InputError(
            "noise superclass has nothing to flip to: each superlabel has one class; choose "
            "another noise"
        )
    rows = rows[flipped_rows(generator, len(rows), rate, mode)]
    old = subject.labels[rows]
    size = sizes[families[old]]
    new = order[starts[families[old]] + (place[old] + generator.integers(1, size)) % size]
    noisy = subject.labels.copy()
    noisy[rows] = new
    return Corrupted(noisy, subject.classes, rate)


def _families(subject: Subject) -> Labels:
    """Number the superlabel of each class: (C,)."""
    if subject.superlabels is None:
        raise InputError(
            "noise superclass needs superlabels and the store has none: add a superlabel column to "
            "the manifest and extract again"
        )
    names, of_row = np.unique(np.array(subject.superlabels), return_inverse=True)
    families = np.zeros(len(subject.classes), dtype=np.int64)
    families[subject.labels] = of_row
    if (strays := np.flatnonzero(families[subject.labels] != of_row)).size:
        label, other = subject.labels[strays[0]], of_row[strays[0]]
        raise InputError(
            f"noise superclass: class {subject.classes[label]!r} has several superlabels "
            f"({str(names[other])!r}, {str(names[families[label]])!r}): give it one"
        )
    return families
