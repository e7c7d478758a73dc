"""Forward correction: cross-entropy of the given label, through how labels turn wrong.

    L = sum_i w_i l_i / sum_i w_i,   l_i = -log sum_k softmax_k(W x_i + b) P_{k,y_i}

x_i = embedding, y_i = the given label, w_i = the row's weight; P_kj = p(given j | right k). The
classifier predicts right labels and P turns them into given ones, so a wrong label is explained by
the noise in place of by the image. With all weights 0 the loss is 0; without a survey, as with
P = I, it is that of `softmax`.

"symmetric" has P_kk = 1 - e and e / (C - 1) elsewhere, in closed form, nothing of size C x C: one
number to estimate, from all rows. "anchors" is the published estimator: P_k. = p(. | x) of one row,
the one at the 97th percentile of p(k | x) among all rows. "shares" takes P_k. from the labels of
all rows beyond the 80th percentile of p(k | x) among the rows labelled k (our own). Both matrices
can find classes that are mistaken for each other, but are rough where classes are small, and
refused with thousands of them; so symmetric is the default (our choice).

Source: Patrini, Rozza, Menon, Nock, Qu, CVPR 2017, arXiv 1609.03683 (from memory), and the authors'
released code, which clips at 1e-7 too. Departures, our choice: p is the softmax over class centres
of the frozen features, each row left out of its own, in place of a network trained on the same rows
(`_transition.log_shares`); the noise rate of "symmetric" is estimated; the loss is formed from
log-softmax where the code clips p, so a confidently wrong row keeps its gradient. On two synthetic
sets of 5 classes, each labelled as the next one 30 % of the time, "anchors" was far off (mean of
sum_j |P_kj - truth| 0.45 to 0.54), "shares" was not (0.06 and 0.11); beyond some 30 classes of
equal size the 97th percentile of all rows is a row of another class.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from pipeline.losses import _classifier, _proxies, _transition
from pipeline.measures.label_posterior import estimate_noise_rate
from pipeline.program.batch import Batch, tapped

SAMPLER = "shuffle"
BATCH_SIZE = 64
SURVEYS = "start"


def parameters(
    num_classes: int, embedding_dim: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draws the classifier: {"weight": (C, D), "bias": (C,)} float32."""
    return _classifier.draw(num_classes, embedding_dim, generator)


def logits(parameters: dict[str, Tensor], embeddings: Tensor) -> Tensor:
    """Computes scores (B, C) of the right classes of embeddings (B, D)."""
    return _classifier.logits(parameters, embeddings)


def survey(
    rows: Tensor,
    labels: Tensor,
    weights: Tensor,
    num_classes: int,
    generator: torch.Generator,
    *,
    transition: Literal["symmetric", "anchors", "shares"] = "symmetric",
    noise_rate: Annotated[float, "at least 0, below 1"] | Literal["auto"] = "auto",
    percentile: Annotated[float, "above 0, at most 100"] | None = None,
) -> dict[str, Tensor]:
    """Finds P before training.

    Args:
        rows: (N, F) unit norm.
        labels: (N,) int64, as given.
        weights: (N,) of the selection; rows of weight 0 are left out, unless all are.
        num_classes: C.
        generator: not used.
        transition: "symmetric", "anchors" or "shares", as above.
        noise_rate: e in [0, 1), for "symmetric"; "auto" estimates it.
        percentile: of p(k | x), above 0, at most 100: among all rows for "anchors", where None is
            97, and among the rows labelled k for "shares", where None is 80.

    Returns:
        {"noise_rate": ()} or {"transition": (C, C)}.

    Raises:
        InputError: a matrix with too many classes.
    """
    is_kept = (weights > 0) | ~(weights > 0).any()
    rows, labels = rows[is_kept], labels[is_kept]
    if transition == "anchors":
        return {"transition": _transition.from_anchors(rows, labels, num_classes, percentile or 97)}
    if transition == "shares":
        return {"transition": _transition.from_shares(rows, labels, num_classes, percentile or 80)}
    if not isinstance(noise_rate, str):
        return {"noise_rate": rows.new_tensor(noise_rate)}
    if num_classes < 2:
        return {"noise_rate": rows.new_zeros(())}
    # At 1 the given label would be the one class that is excluded.
    return {"noise_rate": estimate_noise_rate(rows, labels, num_classes).clamp_max(0.99)}


def loss(parameters: dict[str, Tensor], batch: Batch) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: {"weight": (C, D), "bias": (C,)}.
        batch: B rows, with what `survey` has found.

    Returns:
        () float; rows of weight 0 get no gradient.
    """
    scores = tapped(batch, "proxies", logits(parameters, batch.embeddings))  # (B, C)
    if batch.survey is None:
        return _proxies.softmax_loss(scores, batch.labels, batch.weights)
    if "transition" in batch.survey:
        matrix = batch.survey["transition"].to(scores.dtype)
        likelihood = _transition.log_likelihood(scores, batch.labels, matrix)
    else:
        rate = batch.survey["noise_rate"].to(scores.dtype)
        likelihood = _transition.log_likelihood_symmetric(scores, batch.labels, rate)
    weights = batch.weights.to(scores.dtype)
    return -(weights * likelihood).sum() / weights.sum().clamp_min(1e-12)
