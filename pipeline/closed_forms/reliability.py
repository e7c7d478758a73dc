"""Within-class whitening whose directions count by how reliable they are; ours.

In the basis where the shrunk covariance W_s within classes is 1 and that of all rows is diagonal,
r_j, a direction has b_j = max(r_j - 1, 0) of its variance between classes and is scaled by

    sqrt(b_j / (b_j + strength))

With strength 1 the square is the intraclass correlation 1 - 1/r_j, the share of the variance that
is not noise around a class: what a Wiener filter would let through. Towards 0 it is
`within-class-whiten`, for large strengths directions count by b_j, as in a discriminant analysis.
b_j is read off all rows and not off class means: wrong labels leave T as it is, and classes that
no label names still count.

Source: the project's own. Near relatives: probabilistic discriminant analysis (Ioffe, ECCV 2006)
has the same shrinking of b_j, estimated from class means.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from pipeline.closed_forms import _directions
from pipeline.closed_forms._statistics import Statistics


def fit(
    statistics: Statistics,
    dim: int,
    *,
    shrinkage: Annotated[float, "at least 0, at most 1"] = 0.3,
    strength: Annotated[float, "above 0"] = 1.0,
) -> Tensor:
    """Compute the head's weight.

    Args:
        statistics: of the training rows; `means` are not read.
        dim: how many directions to keep, at least 1.
        shrinkage: s in [0, 1].
        strength: above 0; how much stronger the most reliable directions count.

    Returns:
        (F, min(dim, F)).
    """
    found = _directions.relative(statistics, shrinkage)
    between = found.between.clamp_min(1e-9)[:dim]  # a store of equal rows keeps its shape
    return found.basis[:, :dim] * (between / (between + strength)).sqrt()
