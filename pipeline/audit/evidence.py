"""What one source says about every label: how much speaks against it, and for which classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

OTHERS = 3  # classes that a source names beside the given one
BOUND = 12.0  # of log odds: beyond, a source is as sure as it can be


class Evidence(NamedTuple):
    """What a source says about N rows.

    Attributes:
        log_odds: (N,) of "another class" against "the given class", in [-BOUND, BOUND]; NaN where
            the source knows nothing.
        own: (N,) in [0, 1], the share of the given class.
        classes: (N, M) int64, other classes, the most probable first; -1 where there are no more.
        shares: (N, M) in [0, 1], their shares; 0 where there is no class.
    """

    log_odds: Tensor
    own: Tensor
    classes: Tensor
    shares: Tensor

    def suspicion(self) -> Tensor:
        """Give (N,) in [0, 1], high = another class; NaN where the source knows nothing."""
        return self.log_odds.sigmoid()


def of_logits(logits: Tensor, labels: Tensor, is_unknown: Tensor) -> Evidence:
    """Take the softmax of some rows over all classes as what is said about them.

    Args:
        logits: (T, C), -inf for classes that take no part.
        labels: (T,) int64, as given.
        is_unknown: (T,) bool, rows about whose own class nothing is known.
    """
    total = logits.logsumexp(dim=1, keepdim=True)
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    against = (others.logsumexp(dim=1) - own[:, 0]).clamp(-BOUND, BOUND)
    best = others.topk(min(OTHERS, logits.shape[1]), dim=1)
    shares = (best.values - total).exp()
    return Evidence(
        against.masked_fill(is_unknown, torch.nan),
        (own - total).exp()[:, 0].masked_fill(is_unknown, 0.0),
        best.indices.masked_fill(best.values.isinf(), -1),
        shares,
    )


def joined(parts: Iterable[Evidence]) -> Evidence:
    """Put the evidence of tiles one after the other."""
    return Evidence(*(torch.cat(each) for each in zip(*parts, strict=True)))
