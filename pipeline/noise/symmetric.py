"""Symmetric noise: a share of the rows gets another class, all others equally likely.

Source: the usual closed-set model; the published lists of PRISM (Liu et al., CVPR 2021,
arXiv 2103.16047) follow its independent form. Departure: the new class is never the old one, so the
realised rate is the stated one.
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
        generator: draws the rows and their new classes.
        rate: share of flipped rows, in [0, 1].
        mode: "exact" flips round(rate * N) rows; "independent" flips each row with that
            probability, as the published lists do.
    """
    labels, num_classes = subject.labels, len(subject.classes)
    flipped = flipped_rows(generator, len(labels), rate, mode)
    shift = generator.integers(1, num_classes, size=len(labels))
    noisy = np.where(flipped, (labels + shift) % num_classes, labels)
    return Corrupted(noisy, subject.classes, rate)
