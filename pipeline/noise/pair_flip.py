"""Pair flip: a share of the rows gets the next class, and those of the last class the first.

The order is that of the class names: whole numbers by value, then all other names by their
characters, as everywhere in this program. Source: Han et al., NeurIPS 2018, arXiv 1804.06872
("pair flipping"), whose order is that of the data set's label numbers.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from pipeline.noise._subject import Corrupted, Subject, flipped_rows


def corrupt(
    subject: Subject,
    generator: np.random.Generator,
    *,
    rate: Annotated[float, "at least 0, at most 1"],
    mode: Literal["exact", "independent"] = "exact",
) -> Corrupted:
    """Flip labels.

    Args:
        subject: N rows of at least 2 classes.
        generator: draws the rows.
        rate: share of flipped rows, in [0, 1].
        mode: "exact" flips round(rate * N) rows; "independent" flips each row with that
            probability.
    """
    labels = subject.labels
    flipped = flipped_rows(generator, len(labels), rate, mode)
    noisy = np.where(flipped, (labels + 1) % len(subject.classes), labels)
    return Corrupted(noisy, subject.classes, rate)
