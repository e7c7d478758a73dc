"""Linear discriminant analysis: the directions in which class means lie apart.

    x -> sqrt(b_j / (b_j + damping b)) u_j' W_s^(-1/2) x,   j = 1 . C - 1

u_j, b_j = eigenvectors and eigenvalues of the scatter of the class means in the whitened space,
every class counting alike; b = the mean of b_j. Everything in which the classes' means do not
differ is projected away: right where the classes of the queries are known, wrong where they are
new.

Source: Rao 1948; Fisher 1936 for two classes. The whitened space is that of `within-class-whiten`.
Departures, our choice: shrinkage, classes count alike, and the damping of weak directions (0 = the
plain projection), which is that of probabilistic discriminant analysis (Ioffe, ECCV 2006).
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
    damping: Annotated[float, "at least 0"] = 0.1,
) -> Tensor:
    """Compute the head's weight.

    Args:
        statistics: of the training rows.
        dim: how many directions to keep at most, at least 1.
        shrinkage: s in [0, 1].
        damping: at least 0; the more, the less weak directions count.

    Returns:
        (F, min(dim, C' - 1, F)), C' = classes that have rows of weight; where fewer than two have,
        nothing is told apart and this is `within-class-whiten`.
    """
    basis = _directions.relative(statistics, shrinkage).basis
    if len(statistics.means) < 2:
        return basis[:, :dim]
    directions, scatter = _class_means.apart(statistics, basis)
    scatter = scatter.clamp_min(1e-9)
    scale = (scatter / (scatter + damping * scatter.mean())).sqrt()
    return (basis @ (directions * scale))[:, :dim]
