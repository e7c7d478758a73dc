"""Symmetric noise: a share of the rows gets another class, all others equally likely.

Source: the usual closed-set model; the published lists of PRISM (Liu et al., CVPR 2021,
arXiv 2103.16047) follow its independent form. Departure: the new class is never the old one, so the
realised rate is the stated one.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray


def corrupt(
    labels: NDArray[np.int64],
    num_classes: int,
    generator: np.random.Generator,
    *,
    rate: Annotated[float, "at least 0, at most 1"],
    mode: Literal["exact", "independent"] = "exact",
) -> NDArray[np.int64]:
    """Flips labels.

    Args:
        labels: (N,) in 0..C-1.
        num_classes: C, at least 2.
        generator: draws the rows and their new classes.
        rate: share of flipped rows, in [0, 1].
        mode: "exact" flips round(rate * N) rows; "independent" flips each row with that
            probability, as the published lists do.

    Returns:
        (N,) the new labels.
    """
    count = len(labels)
    if mode == "exact":
        flipped = generator.permutation(count) < round(rate * count)
    else:
        flipped = generator.random(count) < rate
    shift = generator.integers(1, num_classes, size=count)
    return np.where(flipped, (labels + shift) % num_classes, labels)
