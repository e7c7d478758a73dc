"""How long and how fast to train."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The plan of a training.

    Attributes:
        epochs: passes over the training rows, at least 1.
        dim: D, the embedding dimension.
        lr: peak learning rate of the head; falls to 0 along a cosine.
        proxy_lr: peak learning rate of the loss's own parameters; the same cosine.
        weight_decay: of the head; the loss's parameters have none.
    """

    epochs: int
    dim: int
    lr: float
    proxy_lr: float
    weight_decay: float

    def falling(self, time: float) -> float:
        """Compute the share of the peak rates that holds at a time, counted in epochs."""
        return 0.5 * (1 + math.cos(math.pi * time / self.epochs))
