"""Whitening by the covariance within classes: directions along which a class varies count less.

    x -> W_s^(-1/2) x,   W_s = (1 - s) W + s tr(W)/F I

W = weighted covariance of the rows around their classes' means. Of the output the directions along
which all rows vary most in relation to W_s are kept. New classes keep their place in such a space:
nothing is projected onto the classes that were seen.

Source: within-class covariance normalisation, Hatch, Kajarekar, Stolcke, Interspeech 2006; its use
with cosines: Dehak et al., IEEE TASLP 2011 (both from memory). The shrinkage, and what `dim` cuts
off, are our choice.
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
) -> Tensor:
    """Compute the head's weight.

    Args:
        statistics: of the training rows; `means` are not read.
        dim: how many directions to keep, at least 1.
        shrinkage: s in [0, 1].

    Returns:
        (F, min(dim, F)).
    """
    return _directions.relative(statistics, shrinkage).basis[:, :dim]
