"""How well wrong labels were found, when it is known which ones are wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detection:
    """Quality of the flags and scores of N training rows.

    Attributes:
        precision: share of the flagged rows that are wrong; NaN without a flag.
        recall: share of the wrong rows that are flagged; NaN without a wrong row.
        auc: probability that a right row scores above a wrong one, ties half; NaN without both.
    """

    precision: float
    recall: float
    auc: float


def detection(
    scores: NDArray[np.floating], flagged: NDArray[np.bool_], is_wrong: NDArray[np.bool_]
) -> Detection:
    """Compares scores (low = suspicious) and flags with the truth, (N,) each."""
    found = int((flagged & is_wrong).sum())
    return Detection(
        precision=_ratio(found, int(flagged.sum())),
        recall=_ratio(found, int(is_wrong.sum())),
        auc=_auc(scores, is_wrong),
    )


def _auc(scores: NDArray[np.floating], is_wrong: NDArray[np.bool_]) -> float:
    """Computes the area under the ROC curve from mean ranks (Mann-Whitney U)."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = counts.cumsum() - (counts - 1) / 2  # of each distinct score, from 1
    num_wrong = int(is_wrong.sum())
    num_right = len(scores) - num_wrong
    above = mean_rank[place][~is_wrong].sum() - num_right * (num_right + 1) / 2
    return _ratio(float(above), num_right * num_wrong)


def _ratio(part: float, whole: int) -> float:
    return part / whole if whole else float("nan")
