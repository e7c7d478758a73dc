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

"max" divides by the row's highest confidence; "temperature" fits sigmoid(slope * logit + offset) to
the held-out rows' given labels (Platt scaling), which gives the chance that the label would be c,
at best 1 - e; "none" leaves them.

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
from pipeline.selection import _calibration, _confidence_mlp, _ranking
from pipeline.selection._state import State

_PLATT_SCORES = 2**24  # enough for two numbers, and they are held at once


def start(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    generator: torch.Generator,
    *,
    folds: Annotated[int, "at least 2"] = 5,
    epochs: Annotated[int, "at least 1"] = 20,
    depth: Annotated[int, "at least 0"] = 1,
    hidden: Annotated[int, "at least 1"] = 512,
    dropout: Annotated[float, "at least 0, below 1"] = 0.5,
    lr: Annotated[float, "above 0"] = 1e-3,
    batch_size: Annotated[int, "at least 1"] = 256,
    calibrate: Literal["posterior", "max", "temperature", "none"] = "posterior",
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
        depth: number of hidden layers; 0 = a linear module.
        hidden: width of each hidden layer.
        dropout: share of hidden units dropped in training, in [0, 1).
        lr: learning rate of AdamW.
        batch_size: rows per step and fold.
        calibrate: "posterior", "max", "temperature" or "none", as above.
        noise_rate: e in [0, 1), for "posterior"; "auto" estimates it from the features.
        threshold: confidence in the given label below which the row counts as wrongly labelled.
        top: number of classes per row whose confidence is kept; the others count as 0.
    """
    settings = _confidence_mlp.Settings(folds, epochs, depth, hidden, dropout, lr, batch_size)
    rows = functional.normalize(features, dim=1)
    rate = _ranking.rate_of(noise_rate, rows, labels, num_classes)
    values = rows * rows.shape[1] ** 0.5
    fold = _confidence_mlp.assign_folds(values, labels, folds, generator)
    models = _confidence_mlp.train(values, labels, fold, num_classes, settings, generator)
    is_unseen = _is_in_one_fold(labels, fold, num_classes, folds)
    slope, offset = 1.0, 0.0
    if calibrate == "temperature":
        slope, offset = _platt(models, values, labels, fold, ~is_unseen, num_classes, generator)
    highest = torch.zeros(len(rows), min(top, num_classes), device=rows.device)
    classes = highest.long()
    given = torch.zeros(len(rows), device=rows.device)
    for part, logits in _confidence_mlp.out_of_fold(models, values, fold):
        raw = (slope * logits + offset).sigmoid()  # (T, C)
        confidence = _calibration.calibrated(raw, labels[part], rate, calibrate)
        highest[part], classes[part] = confidence.topk(highest.shape[1], dim=1)
        given[part] = confidence.gather(1, labels[part][:, None])[:, 0]
    given = torch.where(is_unseen, 1.0, given)
    extras = {
        "classes": classes,
        "values": torch.where(is_unseen[:, None], 0.0, highest),
        "class_sizes": torch.bincount(labels, minlength=num_classes),
    }
    return State(torch.where(given < threshold, 0.0, given), given, rate, extras)


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


def _platt(
    models: _confidence_mlp.Models,
    values: Tensor,
    labels: Tensor,
    fold: Tensor,
    is_fit: Tensor,
    num_classes: int,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Fit slope and offset on some of the rows that `is_fit` allows, each held out."""
    rows = torch.randperm(len(labels), generator=generator).to(labels.device)
    rows = rows[is_fit[rows]][: max(1, _PLATT_SCORES // num_classes)]
    if len(rows) == 0:
        return 1.0, 0.0
    scored = list(_confidence_mlp.out_of_fold(models, values[rows], fold[rows]))
    logits = torch.cat([found for _, found in scored])
    return _calibration.platt(logits, torch.cat([labels[rows[part]] for part, _ in scored]))


def _is_in_one_fold(labels: Tensor, fold: Tensor, num_classes: int, folds: int) -> Tensor:
    """Mark the rows of classes that no model but their own has seen, (N,) bool."""
    seen_in = torch.zeros(num_classes, folds, device=labels.device)
    seen_in[labels, fold] = 1
    return (seen_in.sum(dim=1) == 1)[labels]
