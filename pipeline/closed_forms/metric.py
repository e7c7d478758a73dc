"""The family between within-class whitening and discriminant analysis.

    x -> (I + strength S_b / b)^(1/2) W_s^(-1/2) x

S_b = scatter of the class means in the whitened space, every class counting alike; b = the mean of
its eigenvalues that are not 0. The space is that of `within-class-whiten`. Strength 0
changes nothing; the larger, the more the directions count in which the classes lie apart, and
nothing is projected away.

Source: the project's own.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from pipeline.closed_forms import _class_means, _directions
from pipeline.closed_forms._statistics import Statistics


def fit(
    statistics: Statistics,
    dim: int,
    *,
    shrinkage: Annotated[float, "at least 0, at most 1"] = 0.3,
    strength: Annotated[float, "at least 0"] = 0.1,
) -> Tensor:
    """Compute the head's weight.

    Args:
        statistics: of the training rows.
        dim: how many directions to keep, at least 1.
        shrinkage: s in [0, 1].
        strength: at least 0.

    Returns:
        (F, min(dim, F)).
    """
    basis = _directions.relative(statistics, shrinkage).basis[:, :dim]
    directions, scatter = _class_means.apart(statistics, basis)
    stretch = (1 + strength * scatter / scatter.mean().clamp_min(1e-9)).sqrt() - 1
    return basis + (basis @ directions * stretch) @ directions.T
