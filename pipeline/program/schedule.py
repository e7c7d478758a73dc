"""What to train, how long and how fast."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.program.heads import Kind


@dataclass(frozen=True)
class Schedule:
    """The plan of a training.

    Attributes:
        epochs: passes over the training rows, at least 1.
        dim: D, the embedding dimension.
        lr: peak learning rate of the head; falls to 0 along a cosine.
        proxy_lr: peak learning rate of the loss's own parameters; the same cosine.
        weight_decay: of the head; the loss's parameters have none.
        head: which head, see `pipeline.program.heads`.
        hidden: H, the width of its hidden layer, if it has one.
        dropout: share of the features that a step does not see, see `pipeline.program.disturbance`.
        feature_noise: deviation of the noise on features, in units of their own.
    """

    epochs: int
    dim: int
    lr: float
    proxy_lr: float
    weight_decay: float
    head: Kind = "linear"
    hidden: int = 512
    dropout: float = 0.0
    feature_noise: float = 0.0

    def falling(self, time: float) -> float:
        """Compute the share of the peak rates that holds at a time, counted in epochs."""
        return 0.5 * (1 + math.cos(math.pi * time / self.epochs))
