"""Confidence module: out-of-fold class confidences, phase one of Smooth Proxy-Anchor.

An MLP with one sigmoid per class is trained on the frozen features and the given labels by binary
cross-entropy, K times on K - 1 folds; each row is scored by the model that has not seen it. The
batch gets (B, C) confidences for losses that read them; other losses see each row weighted by the
confidence in its given label, and rows below `threshold` left out.

Source: Roig et al., CVPR 2020 workshop, arXiv 2006.05142 (a confidence module trained with binary
cross-entropy on the frozen backbone's features). Cross-fitting, the normalisation by the row's
highest confidence, the architecture and all constants are the project's own.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.batch import Batch
from pipeline.selection import _confidence_mlp
from pipeline.selection._state import State


def start(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    generator: torch.Generator,
    *,
    folds: int = 5,
    epochs: int = 10,
    hidden: int = 512,
    dropout: float = 0.5,
    lr: float = 1e-3,
    batch_size: int = 512,
    normalize: Literal["max", "none"] = "max",
    threshold: float = 0.5,
    top: int = 16,
) -> State:
    """Trains the module and scores all rows out of fold.

    A class whose rows are all in one fold (a single row, or copies of one) cannot be cross-fitted:
    no model that scores them has seen it. Its rows keep their label with confidence 1.

    Args:
        features: (N, F) centred.
        labels: (N,) int64, as given.
        num_classes: C.
        generator: on the CPU.
        folds: K, at least 2.
        epochs: passes over the training rows of each fold.
        hidden: width of the hidden layer.
        dropout: share of hidden units dropped in training, in [0, 1).
        lr: learning rate of AdamW.
        batch_size: rows per step and fold.
        normalize: "max" divides a row's confidences by its highest one, because with wrong labels
            no confidence comes near 1; "none" leaves them.
        threshold: confidence in the given label below which the row counts as wrongly labelled.
        top: number of classes per row whose confidence is kept; the others count as 0.
    """
    settings = _confidence_mlp.Settings(folds, epochs, hidden, dropout, lr, batch_size)
    features = functional.normalize(features, dim=1) * features.shape[1] ** 0.5
    fold = _confidence_mlp.assign_folds(features, labels, folds, generator)
    models = _confidence_mlp.train(features, labels, fold, num_classes, settings, generator)
    classes, values, given = _confidence_mlp.out_of_fold(models, features, fold, top, labels)
    if normalize == "max":
        highest = values[:, :1].clamp_min(1e-12)
        values, given = values / highest, given / highest[:, 0]
    class_sizes = torch.bincount(labels, minlength=num_classes)
    seen_in = torch.zeros(num_classes, folds, device=labels.device)
    seen_in[labels, fold] = 1
    is_alone = (seen_in.sum(dim=1) == 1)[labels]
    values = torch.where(is_alone[:, None], 0.0, values)
    given = torch.where(is_alone, 1.0, given)
    is_wrong = given < threshold
    extras = {"classes": classes, "values": values, "class_sizes": class_sizes}
    return State(torch.where(is_wrong, 0.0, given), given, is_wrong.float().mean(), extras)


def select(state: State, batch: Batch) -> tuple[Batch, State]:
    """Gives the batch its confidences, and weights for losses that read only labels."""
    rows, num_classes = batch.rows, state.extras["class_sizes"].shape[0]
    confidences = state.scores.new_zeros(len(rows), num_classes)
    confidences = confidences.scatter(
        1, state.extras["classes"][rows], state.extras["values"][rows]
    )
    confidences = confidences.scatter(1, batch.labels[:, None], state.scores[rows][:, None])
    weights = batch.weights * state.weights[rows]
    return batch._replace(confidences=confidences, weights=weights), state
