"""How good an audit is, where it is known which labels are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.measures.detection import detection

_BINS = 10


def quality(
    p_wrong: NDArray[np.floating],
    is_issue: NDArray[np.bool_],
    is_wrong: NDArray[np.bool_],
    rate: float,
) -> dict[str, Any]:
    """Compare probabilities and flags of N rows with the truth.

    Args:
        p_wrong: (N,) in [0, 1].
        is_issue: (N,), the rows that are reported.
        is_wrong: (N,), the truth.
        rate: estimated share of wrong labels: as many rows of highest p are looked at.

    Returns:
        Plain values in [0, 1]; None where a figure makes no sense.
    """
    found = detection(-p_wrong, is_issue, is_wrong)
    first = np.argsort(-p_wrong, kind="stable")[: round(rate * len(p_wrong))]
    figures = {
        "known_noise_rate": float(is_wrong.mean()),
        "auc": found.auc,
        "average_precision": average_precision(p_wrong, is_wrong),
        "precision_at_estimated_rate": float(is_wrong[first].mean()) if len(first) else np.nan,
        "precision": found.precision,
        "recall": found.recall,
        "calibration_error": calibration_error(p_wrong, is_wrong),
    }
    return {name: None if np.isnan(value) else value for name, value in figures.items()}


def average_precision(scores: NDArray[np.floating], is_wrong: NDArray[np.bool_]) -> float:
    """Average the precision over the recalls of all thresholds; equal scores fall together.

    Args:
        scores: (N,) high = suspicious.
        is_wrong: (N,), the truth.

    Returns:
        In [0, 1], NaN without a wrong row.
    """
    order = np.argsort(-scores, kind="stable")
    found = is_wrong[order].cumsum()
    is_last = np.append(np.diff(scores[order]) != 0, True)  # of equal scores
    hits, seen = found[is_last], np.flatnonzero(is_last) + 1
    if not len(hits) or hits[-1] == 0:
        return float("nan")
    return float((np.diff(hits, prepend=0) * hits / seen).sum() / hits[-1])


def calibration_error(p: NDArray[np.floating], is_wrong: NDArray[np.bool_]) -> float:
    """Compute the expected calibration error over ten bins of equal width (Guo et al., 2017).

    sum_b (n_b / N) |mean of p in b - share of wrong rows in b|
    """
    bins = np.minimum((p * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, p.astype(np.float64) - is_wrong, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(p))
