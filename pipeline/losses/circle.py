"""Circle loss: every cosine pulled with a strength that grows with its distance from the optimum.

    L = (1/n) sum_i softplus( log sum_{k in N_i} exp( scale a_ik (S_ik - margin))
                            + log sum_{k in P_i} exp(-scale a_ik (S_ik - (1 - margin))) )
    a_ik = [S_ik + margin]_+ on negatives, [1 + margin - S_ik]_+ on positives

S_ik = cosine of embeddings i and k; P_i, N_i = positives and negatives of row i. The strengths a_ik
are constants for the gradient, so it is not the derivative of the value. n counts the rows that
have both positives and negatives; the others are left out.

Source: Sun et al., CVPR 2020, arXiv 2002.10857 (from memory); formula as in
pytorch-metric-learning, defaults for fine-grained retrieval (for faces 256 and 0.25). Departures,
our choice: a partner's weight multiplies its exponential, the anchor's weight its term; samples are
told apart by row number.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor
from torch.nn import functional

from pipeline.losses import _pairs
from pipeline.program.batch import Batch

SAMPLER = "balanced"
BATCH_SIZE = 64


def loss(
    parameters: dict[str, Tensor],
    batch: Batch,
    *,
    scale: Annotated[float, "above 0"] = 80.0,
    margin: Annotated[float, "at least 0, at most 1"] = 0.4,
) -> Tensor:
    """Computes the loss of one batch.

    Args:
        parameters: none are used.
        batch: B rows.
        scale: sharpness, above 0 ("gamma" in the paper).
        margin: radius of the decision boundary in cosine, in [0, 1] ("m" in the paper).

    Returns:
        () float; 0, with a gradient of 0, where no row has both positives and negatives.
    """
    pairs = _pairs.pairs_of(batch, batch)
    similarity, constant = pairs.similarity, pairs.similarity.detach()
    pull = -scale * (1 + margin - constant).clamp_min(0) * (similarity - (1 - margin))
    push = scale * (constant + margin).clamp_min(0) * (similarity - margin)
    attraction = _pairs.log_sum_exp(pull, pairs.positive, dim=1)
    repulsion = _pairs.log_sum_exp(push, pairs.negative, dim=1)
    has_both = (pairs.positive > 0).any(dim=1) & (pairs.negative > 0).any(dim=1)
    # log(1 + exp(x)); softplus turns linear at x = 20, an error of 2e-9.
    terms = -functional.logsigmoid(-attraction - repulsion)
    return _pairs.anchor_mean(terms, batch.weights * has_both)
