"""PRISM as published: a queue of kept rows, raw class means, a smoothed threshold per batch.

    P_i = exp(w(y_i) . x_i) / sum_k exp(w(k) . x_i),   w(k) = mean of the queue's rows labelled k

Per batch, Q = the largest P among the int(noise_rate * B) lowest; a row is kept if P is above the
mean of the last `window` values of Q, this batch's included. Only kept rows enter the queue. A row
whose class is not in the queue yet has P = 1 ("unknown") and is kept.

Source: Liu et al., CVPR 2021, arXiv 2103.16047, eq. 1-7, with the released code's threshold (the
paper's sum is off by one) and its rules: Q = 1 (unknown classes) does not enter the window; if the
smoothed threshold keeps nothing, the batch's own Q is used and the window starts anew from it.
Departures: centres are formed from the queue as it is in every step (the code updates only classes
stored in the step before); a class that is not in the queue takes no part in the softmax (the
code's empty centre adds exp(0)); noise_rate * B < 1 drops nothing (the code fails).
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from pipeline.program.batch import Batch
from pipeline.program.memory import Memory
from pipeline.selection._posterior import class_sums
from pipeline.selection._state import State, keep_everything

BANK = "queue"


def start(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    generator: torch.Generator,
    *,
    noise_rate: Annotated[float, "at least 0, at most 1"],
    window: Annotated[int, "at least 1"] = 30,
) -> State:
    """Begins with an empty window and trusts every row.

    Args:
        features: (N, F), not used: the published form knows nothing before training.
        labels: (N,) int64, as given.
        num_classes: C.
        generator: not used.
        noise_rate: share of each batch to drop, in [0, 1]; has to be given, as in the paper.
        window: number of batches that the threshold is averaged over, at least 1 ("tau").
    """
    state = keep_everything(labels)
    thresholds = torch.full((window,), torch.nan, dtype=torch.float64, device=labels.device)
    class_sizes = torch.bincount(labels, minlength=num_classes)
    extras = {"thresholds": thresholds, "class_sizes": class_sizes}
    rate = torch.as_tensor(noise_rate, dtype=state.weights.dtype, device=labels.device)
    return state._replace(noise_rate=rate, extras=extras)


def select(state: State, batch: Batch) -> tuple[Batch, State]:
    """Scores the batch against the queue and keeps what lies above the smoothed threshold.

    The state notes each row's latest score and weight.
    """
    if batch.memory is None:
        return batch, state
    present = batch.weights > 0  # (B,)
    num_classes = state.extras["class_sizes"].shape[0]
    p_clean = clean_probability(batch, batch.memory, num_classes)  # (B,)
    threshold = batch_threshold(p_clean, present, state.noise_rate)
    smoothed, thresholds = smooth(state.extras["thresholds"], threshold)
    keep = present & ((p_clean > smoothed) | (p_clean == 1))
    none_left = present.any() & ~keep.any()
    thresholds = torch.where(none_left & _enters(threshold), restart(thresholds), thresholds)
    keep = torch.where(none_left, present & (p_clean > threshold), keep)

    def note(known: Tensor, values: Tensor) -> Tensor:
        # Rows that are absent from the batch write to a spare place behind the others.
        place = torch.where(present, batch.rows, known.shape[0])
        spare = torch.cat([known, known[:1]])
        return spare.index_copy(0, place, values.to(known.dtype))[: known.shape[0]]

    state = state._replace(
        weights=note(state.weights, keep),
        scores=note(state.scores, p_clean),
        extras={**state.extras, "thresholds": thresholds},
    )
    return batch._replace(weights=batch.weights * keep), state


def clean_probability(batch: Batch, memory: Memory, num_classes: int) -> Tensor:
    """Computes P for each batch row, (B,) float64; 1 for a row whose class is not in the queue."""
    count = memory.weights.new_zeros(num_classes).index_add(0, memory.labels, memory.weights)
    sums = class_sums(memory.embeddings, memory.labels, memory.weights, num_classes)
    means = sums / count.clamp_min(1e-12)[:, None]  # (C, D)
    similarity = (batch.embeddings @ means.T).double()  # (B, C)
    similarity = similarity.masked_fill(count <= 0, -torch.inf)
    own = similarity.gather(1, batch.labels[:, None])[:, 0]
    is_known = torch.isfinite(own)
    log_p = torch.where(is_known, own - similarity.logsumexp(dim=1), 0.0)
    return log_p.exp()


def batch_threshold(p_clean: Tensor, present: Tensor, noise_rate: Tensor) -> Tensor:
    """Finds the largest P among the int(noise_rate * B) lowest of the present rows.

    Returns:
        () float64; -inf where nothing is to be dropped.
    """
    dropped = (noise_rate * present.sum() + 1e-4).floor().long()
    ordered = torch.where(present, p_clean, torch.inf).sort().values
    threshold = ordered.gather(0, (dropped - 1).clamp_min(0)[None])[0]
    return torch.where(dropped > 0, threshold, -torch.inf)


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


def _enters(threshold: Tensor) -> Tensor:
    return torch.isfinite(threshold) & (threshold != 1)
