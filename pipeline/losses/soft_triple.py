"""SoftTriple loss: a margin softmax over classes that each have several learned centres.

    L = sum_i w_i l_i / sum_i w_i + tau R
    l_i = -log softmax_c(scale (S_ic - margin [c = y_i]))[y_i]
    S_ic = sum_k q_ick s_ick,   q_ic = softmax_k(s_ick / gamma)
    R = 1/C sum_c 1 / (K_c (K_c - 1)) sum_{k < l} sqrt(2 + 1e-5 - 2 cos(c_k, c_l))

s_ick = cosine of embedding i and centre k of class c; w_i = the row's weight; K_c = the number of
centres of class c. R draws a class's centres together, so that only classes that need several keep
them; it is half the mean distance, as each pair is summed once (the code's divisor, kept so that
tau means the same), and is formed class by class, (C, K, K). A class with one centre has no R; with
one in every class the loss is a margin softmax. With all weights 0 the loss is 0, R included.

Source: Qian, Shang, Sun, Hu, Li, Jin, ICCV 2019, arXiv 1909.05235 (from memory), and the authors'
released code, which all constants are from but the number of centres. They advise fewer centres
than a class has images. "auto" is K_c = min(K, n_c - 1), at least 1, with n_c the class's rows, our
choice, and K = 10 below 500 classes, else 2, as in PRISM's comparison; a number is K_c for every
class. Further departures, our choice: unit-norm random centres at the start (the code draws Kaiming
uniform), embeddings of unit norm (the code leaves that to the network), and the weighted mean over
rows. Soft orthogonality is for one proxy per class, hence not here.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.losses import _pairs, _proxies
from pipeline.program.batch import Batch, tapped
from pipeline.program.rows import Rows

SAMPLER = "shuffle"
BATCH_SIZE = 64
SURVEYS = "start"


def parameters(
    num_classes: int,
    embedding_dim: int,
    generator: torch.Generator,
    *,
    centres: Annotated[int, "at least 1"] | Literal["auto"] = "auto",
) -> dict[str, Tensor]:
    """Draws the centres: {"centres": (C, K, D) float32}.

    Args:
        num_classes: C.
        embedding_dim: D.
        generator: on the CPU.
        centres: K per class, at least 1, or "auto": 10 below 500 classes, else 2.
    """
    if isinstance(centres, str):
        centres = 10 if num_classes < 500 else 2
    drawn = _proxies.draw_proxies(num_classes * centres, embedding_dim, generator)
    return {"centres": drawn.view(num_classes, centres, embedding_dim)}


def survey(
    rows: Rows,
    labels: Tensor,
    weights: Tensor,
    num_classes: int,
    generator: torch.Generator,
    *,
    centres: Annotated[int, "at least 1"] | Literal["auto"] = "auto",
) -> dict[str, Tensor]:
    """Counts how many centres each class may use: {"num_centres": (C,) int64}.

    Args:
        rows: (N, F), not used.
        labels: (N,) int64.
        weights: (N,), not used: a row that is left out now may count later.
        num_classes: C.
        generator: not used.
        centres: as in `parameters`.
    """
    sizes = torch.bincount(labels, minlength=num_classes)
    limit = sizes - 1 if centres == "auto" else torch.full_like(sizes, int(centres))
    return {"num_centres": limit.clamp_min(1)}


def loss(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    scale: Annotated[float, "above 0"] = 20.0,
    gamma: Annotated[float, "above 0"] = 0.1,
    margin: Annotated[float, "at least 0"] = 0.01,
    tau: Annotated[float, "at least 0"] = 0.2,
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: {"centres": (C, K, D)}.
        batch: B rows; a class uses as many centres as the survey says, all without one.
        scale: sharpness of the softmax over classes, above 0 ("lambda" in the paper).
        gamma: temperature of the softmax over a class's centres, above 0.
        margin: cosine that is taken off the own class, at least 0 ("delta").
        tau: weight of the term that draws a class's centres together, at least 0.

    Returns:
        () float; rows of weight 0 get no gradient.
    """
    raw = _pairs.in_float32(parameters["centres"])
    centres = functional.normalize(raw, dim=2)  # (C, K, D)
    is_used = used_centres(centres, batch.survey)  # (C, K)
    embeddings = _pairs.in_float32(batch.embeddings)
    similarity = class_similarity(embeddings, centres, is_used, gamma)  # (B, C)
    similarity = tapped(batch, "proxies", similarity)
    is_own = _proxies.membership(batch.labels, centres.shape[0])
    logits = scale * (similarity - margin * is_own.to(similarity.dtype))
    value = _proxies.softmax_loss(logits, batch.labels, batch.weights)
    return value + tau * centre_distance(centres, is_used) * (batch.weights > 0).any()


def facts(parameters: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """Reports the mean number of centres that a class uses.

    Args:
        parameters: {"centres": (C, K, D)}.
        batch: any rows, with the survey.
    """
    centres = parameters["centres"]
    used = used_centres(centres, batch.survey).to(centres.dtype)
    return {"centres_per_class": used.sum(dim=1).mean()}


def used_centres(centres: Tensor, survey: dict[str, Tensor] | None) -> Tensor:
    """Marks the centres that take part, (C, K) bool: the first ones of each class."""
    place = torch.arange(centres.shape[1], device=centres.device).expand(centres.shape[:2])
    if survey is None:
        return place >= 0
    return place < survey["num_centres"][:, None]


def class_similarity(embeddings: Tensor, centres: Tensor, is_used: Tensor, gamma: float) -> Tensor:
    """Computes S from unit embeddings (B, D) and unit centres (C, K, D): (B, C)."""
    flat = embeddings @ centres.flatten(0, 1).T  # (B, C * K)
    cosines = flat.reshape(-1, *centres.shape[:2])  # (B, C, K)
    shares = torch.softmax((cosines / gamma).masked_fill(~is_used, -torch.inf), dim=2)
    return (shares * cosines).sum(dim=2)


def centre_distance(centres: Tensor, is_used: Tensor) -> Tensor:
    """Computes R from unit centres (C, K, D): (); 0 for one centre per class."""
    cosines = centres @ centres.transpose(1, 2)  # (C, K, K)
    # The diagonal would add its own 1e-5; beyond it every pair stands twice.
    distances = (2 + 1e-5 - 2 * cosines).sqrt().triu(diagonal=1)
    is_pair = is_used[:, :, None] & is_used[:, None, :]
    count = is_used.sum(dim=1)
    return ((distances * is_pair).sum(dim=(1, 2)) / (count * (count - 1)).clamp_min(1)).mean()
