"""Confidence module: out-of-fold class confidences, phase one of Smooth Proxy-Anchor.

An MLP with one sigmoid per class is trained on the frozen features and the given labels by binary
cross-entropy, K times on K - 1 folds; each row is scored by the model that has not seen it. The
batch gets (B, C) confidences for losses that read them; other losses see each row weighted by the
confidence in its given label, and rows below `threshold` left out.

With wrong labels no raw confidence comes near 1: at best it is the share of right labels. So they
are calibrated. "posterior" takes the given label into account, which the held-out model has not
seen: with s_c the confidences scaled to sum 1 and e the noise rate,

    t_c = (s_c - e / (C - 1)) / (1 - e - e / (C - 1)), at least 1e-6     what the image says
    confidence_c ~ t_c * (1 - e if c is the given label else e / (C - 1))    and what the label says

"max" divides by the row's highest confidence, "none" leaves them.

Source: Roig et al., CVPR 2020 workshop, arXiv 2006.05142 (a confidence module trained with binary
cross-entropy on the frozen backbone's features). Cross-fitting, early stopping, calibration, the
architecture and all constants are the project's own.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.program.batch import Batch
from pipeline.selection import _confidence_mlp, _ranking
from pipeline.selection._state import State


def start(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    generator: torch.Generator,
    *,
    folds: Annotated[int, "at least 2"] = 5,
    epochs: Annotated[int, "at least 1"] = 20,
    hidden: Annotated[int, "at least 1"] = 512,
    dropout: Annotated[float, "at least 0, below 1"] = 0.5,
    lr: Annotated[float, "above 0"] = 1e-3,
    batch_size: Annotated[int, "at least 1"] = 256,
    calibrate: Literal["posterior", "max", "none"] = "posterior",
    noise_rate: Annotated[float, "at least 0, below 1"] | Literal["auto"] = "auto",
    threshold: Annotated[float, "at least 0, at most 1"] = 0.5,
    top: Annotated[int, "at least 1"] = 16,
) -> State:
    """Train the module and score all rows out of fold.

    A class whose rows are all in one fold (a single row, or copies of one) cannot be cross-fitted:
    no model that scores them has seen it. Its rows keep their label with confidence 1.

    Args:
        features: (N, F) centred.
        labels: (N,) int64, as given.
        num_classes: C.
        generator: on the CPU.
        folds: K, at least 2.
        epochs: passes over the training rows of each fold, at most; see `_confidence_mlp.train`.
        hidden: width of the hidden layer.
        dropout: share of hidden units dropped in training, in [0, 1).
        lr: learning rate of AdamW.
        batch_size: rows per step and fold.
        calibrate: "posterior", "max" or "none", as above.
        noise_rate: e in [0, 1), for "posterior"; "auto" estimates it from the features.
        threshold: confidence in the given label below which the row counts as wrongly labelled.
        top: number of classes per row whose confidence is kept; the others count as 0.
    """
    settings = _confidence_mlp.Settings(folds, epochs, hidden, dropout, lr, batch_size)
    rows = functional.normalize(features, dim=1)
    rate = _ranking.rate_of(noise_rate, rows, labels, num_classes)
    values = rows * rows.shape[1] ** 0.5
    fold = _confidence_mlp.assign_folds(values, labels, folds, generator)
    models = _confidence_mlp.train(values, labels, fold, num_classes, settings, generator)
    highest = torch.zeros(len(rows), min(top, num_classes), device=rows.device)
    classes = highest.long()
    given = torch.zeros(len(rows), device=rows.device)
    for part, logits in _confidence_mlp.out_of_fold(models, values, fold):
        confidence = calibrated(logits.sigmoid(), labels[part], rate, calibrate)  # (T, C)
        highest[part], classes[part] = confidence.topk(highest.shape[1], dim=1)
        given[part] = confidence.gather(1, labels[part][:, None])[:, 0]
    is_unseen = _is_in_one_fold(labels, fold, num_classes, folds)
    given = torch.where(is_unseen, 1.0, given)
    extras = {
        "classes": classes,
        "values": torch.where(is_unseen[:, None], 0.0, highest),
        "class_sizes": torch.bincount(labels, minlength=num_classes),
    }
    return State(torch.where(given < threshold, 0.0, given), given, rate, extras)


def calibrated(confidence: Tensor, labels: Tensor, noise_rate: Tensor, how: str) -> Tensor:
    """Calibrate raw confidences (T, C) of rows with given labels (T,), as the module says."""
    if how == "none":
        return confidence
    if how == "max":
        return confidence / confidence.amax(dim=1, keepdim=True).clamp_min(1e-12)
    num_classes = confidence.shape[1]
    other = noise_rate / (num_classes - 1)  # chance of one particular wrong label
    share = confidence / confidence.sum(dim=1, keepdim=True).clamp_min(1e-12)
    true = ((share - other) / (1 - noise_rate - other).clamp_min(1e-6)).clamp_min(1e-6)
    is_given = functional.one_hot(labels, num_classes).bool()
    joint = true * torch.where(is_given, 1 - noise_rate, other)
    return joint / joint.sum(dim=1, keepdim=True).clamp_min(1e-30)


def select(state: State, batch: Batch) -> tuple[Batch, State]:
    """Give the batch its confidences, and weights for losses that read only labels."""
    rows, num_classes = batch.rows, state.extras["class_sizes"].shape[0]
    confidences = state.scores.new_zeros(len(rows), num_classes)
    confidences = confidences.scatter(
        1, state.extras["classes"][rows], state.extras["values"][rows]
    )
    confidences = confidences.scatter(1, batch.labels[:, None], state.scores[rows][:, None])
    weights = batch.weights * state.weights[rows]
    return batch._replace(confidences=confidences, weights=weights), state


def _is_in_one_fold(labels: Tensor, fold: Tensor, num_classes: int, folds: int) -> Tensor:
    """Mark the rows of classes that no model but their own has seen, (N,) bool."""
    seen_in = torch.zeros(num_classes, folds, device=labels.device)
    seen_in[labels, fold] = 1
    return (seen_in.sum(dim=1) == 1)[labels]
