"""PRISM as published: a queue of kept rows, raw class means, a smoothed threshold per batch.

    P_i = exp(w(y_i) . x_i) / sum_k exp(w(k) . x_i),   w(k) = mean of the queue's rows labelled k

w(k) . x_i is the average cosine of row i to the queue's rows labelled k; both ways to compute it
(`similarity`) are one score. Per batch, Q = the largest P among the int(noise_rate * B) lowest. A
row is kept if P is above the mean of the last `window` values of Q, this batch's included (`smooth`
threshold), or above Q itself (`batch`). Only kept rows enter the queue. A row whose class is not in
the queue yet has P = 1 ("unknown") and is kept, and so are all rows in the first `warm_up` steps.

Source: Liu et al., CVPR 2021, arXiv 2103.16047, eq. 1-7, with the released code's threshold (the
paper's sum is off by one) and its rules: Q = 1 (unknown classes) does not enter the window; if the
smoothed threshold keeps nothing, the batch's own Q is used and the window starts anew from it; a
row's own earlier embedding stays in its class's mean (`prism` leaves it out). Departures: centres
are formed from the queue as it is in every step (the code updates only classes stored in the step
before); a class that is not in the queue takes no part in the softmax (the code's empty centre adds
exp(0)); unknown rows are never dropped (the code drops some while the window is empty); of rows
with P equal to the threshold no more are dropped than int(noise_rate * B) asks for, so a batch of
equal rows is not lost; noise_rate * B < 1 drops nothing (the code fails); rows that are not finite
are dropped; noise_rate can be "auto".
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.measures.label_posterior import class_sums
from pipeline.program.batch import Batch
from pipeline.program.memory import Memory
from pipeline.program.rows import Rows, changed
from pipeline.selection import _ranking
from pipeline.selection._state import State, keep_everything, note

BANK = "queue"


def start(
    features: Rows,
    labels: Tensor,
    num_classes: int,
    generator: torch.Generator,
    *,
    noise_rate: Annotated[float, "at least 0, at most 1"] | Literal["auto"],
    window: Annotated[int, "at least 1"] = 30,
) -> State:
    """Begins with an empty window and trusts every row.

    Args:
        features: (N, F) centred, for noise_rate "auto" only.
        labels: (N,) int64, as given.
        num_classes: C.
        generator: not used.
        noise_rate: share of each batch to drop, in [0, 1]. It has to be given, as in the paper, for
            the published form knows nothing before training; "auto" estimates it all the same, from
            the frozen features of all rows.
        window: number of batches that the threshold is averaged over, at least 1 ("tau").
    """
    state = keep_everything(labels)
    thresholds = torch.full((window,), torch.nan, dtype=torch.float64, device=labels.device)
    class_sizes = torch.bincount(labels, minlength=num_classes)
    steps = torch.zeros_like(labels[0])
    extras = {"thresholds": thresholds, "class_sizes": class_sizes, "steps": steps}
    rows = changed(features, functional.normalize)
    rate = _ranking.rate_of(noise_rate, rows, labels, num_classes)
    return state._replace(noise_rate=rate, extras=extras)


def select(
    state: State,
    batch: Batch,
    *,
    threshold: Literal["smooth", "batch"] = "smooth",
    similarity: Literal["centres", "average"] = "centres",
    warm_up: Annotated[int, "at least 0"] = 0,
) -> tuple[Batch, State]:
    """Scores the batch against the queue and keeps what lies above the threshold.

    The state notes each row's latest score and weight.

    Args:
        state: from `start` or the step before.
        batch: with the queue as its memory; without one, every row is kept.
        threshold: "smooth" is the mean of the last values of Q ("sTRM"), "batch" this batch's Q
            alone ("TRM").
        similarity: "centres" compares with class means, "average" with every row of the queue: the
            same P, at the queue's size over C times the cost.
        warm_up: steps, at least 0, in which every row is kept and no Q enters the window.
    """
    if batch.memory is None:
        return batch, state
    window, steps = state.extras["thresholds"], state.extras["steps"]
    num_classes = state.extras["class_sizes"].shape[0]
    p_clean = clean_probability(batch, batch.memory, num_classes, similarity=similarity)  # (B,)
    present = (batch.weights > 0) & ~p_clean.isnan()
    own = batch_threshold(p_clean, present, state.noise_rate)
    smoothed, thresholds = smooth(window, own)
    is_low = _lowest(p_clean, present, state.noise_rate)
    keep = present & _is_above(p_clean, smoothed if threshold == "smooth" else own, is_low)
    none_left = present.any() & ~keep.any()
    thresholds = torch.where(none_left & _enters(own), restart(thresholds), thresholds)
    keep = torch.where(none_left, present & _is_above(p_clean, own, is_low), keep)
    is_warm = steps >= warm_up
    extras = {
        **state.extras,
        "thresholds": torch.where(is_warm, thresholds, window),
        "steps": steps + present.any(),
    }
    keep = torch.where(is_warm, keep, present)
    state = state._replace(
        weights=note(state.weights, batch.rows, present, keep),
        scores=note(state.scores, batch.rows, present, p_clean),
        extras=extras,
    )
    return batch._replace(weights=batch.weights * keep), state


def clean_probability(
    batch: Batch,
    memory: Memory,
    num_classes: int,
    *,
    similarity: Literal["centres", "average"] = "centres",
) -> Tensor:
    """Computes P for each batch row.

    Args:
        batch: B rows.
        memory: M slots; those of weight 0 are empty.
        num_classes: C.
        similarity: as in `select`.

    Returns:
        (B,) float64 in [0, 1]; 1 for a row whose class is not in the queue.
    """
    compare = _to_centres if similarity == "centres" else _to_rows
    count = memory.weights.new_zeros(num_classes).index_add(0, memory.labels, memory.weights)
    average = compare(batch.embeddings, memory, count.clamp_min(1e-12)).double()  # (B, C)
    average = average.masked_fill(count <= 0, -torch.inf)
    own = average.gather(1, batch.labels[:, None])[:, 0]
    log_p = torch.where(torch.isneginf(own), 0.0, own - average.logsumexp(dim=1))
    return log_p.exp()


def _to_centres(embeddings: Tensor, memory: Memory, count: Tensor) -> Tensor:
    """Average the cosines to the memory's rows of each class: embeddings times class means."""
    sums = class_sums(memory.embeddings, memory.labels, memory.weights, len(count))  # (C, D)
    return embeddings @ (sums / count[:, None]).T


def _to_rows(embeddings: Tensor, memory: Memory, count: Tensor) -> Tensor:
    """Average the cosines to the memory's rows of each class: one by one."""
    cosines = embeddings @ memory.embeddings.T * memory.weights  # (B, M)
    sums = cosines.new_zeros(len(embeddings), len(count)).index_add(1, memory.labels, cosines)
    return sums / count


def batch_threshold(p_clean: Tensor, present: Tensor, noise_rate: Tensor) -> Tensor:
    """Finds the largest P among the int(noise_rate * B) lowest of the present rows.

    Returns:
        () float64; -inf where nothing is to be dropped.
    """
    lowest = p_clean.masked_fill(~_lowest(p_clean, present, noise_rate), -torch.inf)
    return lowest.max()


def smooth(thresholds: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
    """Adds a threshold to the window and averages it.

    Args:
        thresholds: (W,) float64, newest last, NaN = empty place.
        threshold: () float64; 1 (all unknown) and -inf (nothing to drop) do not enter.

    Returns:
        () the mean of the window, or `threshold` itself where the window is empty or nothing is to
        be dropped; and the new window.
    """
    shifted = torch.cat([thresholds[1:], threshold[None]])
    thresholds = torch.where(_enters(threshold), shifted, thresholds)
    mean = thresholds.nanmean()
    use_own = torch.isnan(mean) | torch.isneginf(threshold)
    return torch.where(use_own, threshold, mean), thresholds


def restart(thresholds: Tensor) -> Tensor:
    """Forget all of the window but its newest value."""
    return torch.cat([torch.full_like(thresholds[1:], torch.nan), thresholds[-1:]])


def _lowest(p_clean: Tensor, present: Tensor, noise_rate: Tensor) -> Tensor:
    """Mark the int(noise_rate * B) present rows of lowest P, of equal ones the earlier, (B,)."""
    dropped = (noise_rate * present.sum() + 1e-4).floor()
    rank = p_clean.masked_fill(~present, torch.inf).argsort(stable=True).argsort()
    return present & (rank < dropped)


def _is_above(p_clean: Tensor, threshold: Tensor, is_low: Tensor) -> Tensor:
    """Say which rows lie above a threshold, or on it without being among the lowest, (B,)."""
    return (p_clean > threshold) | ((p_clean == threshold) & ~is_low) | (p_clean == 1)


def _enters(threshold: Tensor) -> Tensor:
    return torch.isfinite(threshold) & (threshold != 1)
