"""Dropping the rows of lowest score: what the forms of PRISM on all rows share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.measures.label_posterior import estimate_noise_rate
from pipeline.program.rows import Rows
from pipeline.selection._state import State, drop_lowest


def rate_of(noise_rate: float | str, rows: Rows, labels: Tensor, num_classes: int) -> Tensor:
    """Takes the noise rate as given, or estimates it ("auto") from unit rows (N, F); () float.

    Among fewer than two classes no label can be wrong: the estimate is 0.
    """
    if isinstance(noise_rate, str):
        if num_classes < 2:
            return torch.zeros((), dtype=rows.dtype, device=rows.device)
        return estimate_noise_rate(rows, labels, num_classes)
    return torch.as_tensor(noise_rate, dtype=rows.dtype, device=rows.device)


def in_passes(
    score: Callable[[Tensor], Tensor], weights: Tensor, noise_rate: Tensor, passes: int
) -> Tensor:
    """Scores all rows, and then again with class centres of the kept rows only.

    Args:
        score: (N,) weights of the rows in their centres -> (N,) log scores; exactly 0 = unknown,
            as the row has no classmate in its centre.
        weights: (N,) of the first pass.
        noise_rate: () share of rows that are dropped after each pass.
        passes: how often all rows are scored, at least 1.

    Returns:
        (N,) log scores of the last pass.
    """
    logs = score(weights)
    for _ in range(passes - 1):
        again = score(drop_lowest(logs, noise_rate))
        # A row whose classmates were all dropped would come back as "unknown" (0): it keeps its
        # score instead. A row that was alone from the start stays unknown.
        logs = torch.where((again == 0) & (logs < 0), logs, again)
    return logs


def begin(logs: Tensor, noise_rate: Tensor) -> State:
    """Makes the state of log scores (N,) in the space of the features."""
    return State(
        drop_lowest(logs, noise_rate), logs.exp(), noise_rate, {"log_scores_of_features": logs}
    )


def blend(state: State, logs: Tensor, share: float) -> State:
    """Blends in log scores (N,) of the head's space, a share in [0, 1], and drops rows anew."""
    logs = (1 - share) * state.extras["log_scores_of_features"] + share * logs
    return state._replace(weights=drop_lowest(logs, state.noise_rate), scores=logs.exp())
