"""SoftTriple loss: a margin softmax over classes that each have several learned centres.

    L = sum_i w_i l_i / sum_i w_i + tau R
    l_i = -log softmax_c(scale (S_ic - margin [c = y_i]))[y_i]
    S_ic = sum_k q_ick s_ick,   q_ic = softmax_k(s_ick / gamma)
    R = 1 / (C K (K - 1)) sum_c sum_{k < l} sqrt(2 + 1e-5 - 2 cos(c_k, c_l))

s_ick = cosine of embedding i and centre k of class c; w_i = the row's weight. R draws a class's
centres together, so that only classes that need several keep them; it is half the mean distance, as
each pair is summed once (the code's divisor, kept so that tau means the same), and is formed class
by class, (C, K, K). With one centre per class there is no R, and the loss is a margin softmax. With
all weights 0 the loss is 0, R included.

Source: Qian, Shang, Sun, Hu, Li, Jin, ICCV 2019, arXiv 1909.05235 (from memory), and the authors'
released code, which all constants are from but the number of centres: "auto" is 10 below 500
classes, else 2, as in PRISM's comparison. The authors advise fewer centres than a class has images.
Departures, our choice: unit-norm random centres at the start (the code draws Kaiming uniform) and
the weighted mean over rows.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.losses import _proxies
from pipeline.program.batch import Batch

SAMPLER = "shuffle"
BATCH_SIZE = 64


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
    drawn = _proxies.unit_proxies(num_classes * centres, embedding_dim, generator)
    return {"centres": drawn.view(num_classes, centres, embedding_dim)}


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
        batch: B rows.
        scale: sharpness of the softmax over classes, above 0 ("lambda" in the paper).
        gamma: temperature of the softmax over a class's centres, above 0.
        margin: cosine that is taken off the own class, at least 0 ("delta").
        tau: weight of the term that draws a class's centres together, at least 0.

    Returns:
        () float; rows of weight 0 get no gradient.
    """
    centres = functional.normalize(parameters["centres"], dim=2)  # (C, K, D)
    similarity = class_similarity(batch.embeddings, centres, gamma)  # (B, C)
    is_own = _proxies.membership(batch.labels, centres.shape[0])
    logits = scale * (similarity - margin * is_own.to(similarity.dtype))
    value = _proxies.softmax_loss(logits, batch.labels, batch.weights)
    return value + tau * centre_distance(centres) * (batch.weights > 0).any()


def class_similarity(embeddings: Tensor, centres: Tensor, gamma: float) -> Tensor:
    """Computes S from unit embeddings (B, D) and unit centres (C, K, D): (B, C)."""
    flat = embeddings @ centres.flatten(0, 1).T  # (B, C * K)
    cosines = flat.reshape(-1, *centres.shape[:2])  # (B, C, K)
    return (torch.softmax(cosines / gamma, dim=2) * cosines).sum(dim=2)


def centre_distance(centres: Tensor) -> Tensor:
    """Computes R from unit centres (C, K, D): (); 0 for one centre per class."""
    num_classes, num_centres, _ = centres.shape
    if num_centres == 1:
        return centres.new_zeros(())
    cosines = centres @ centres.transpose(1, 2)  # (C, K, K)
    # The diagonal would add its own 1e-5; beyond it every pair stands twice.
    distances = (2 + 1e-5 - 2 * cosines).sqrt().triu(diagonal=1)
    return distances.sum() / (num_classes * num_centres * (num_centres - 1))
