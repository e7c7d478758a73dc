"""AdamW over stacked runs: one update for R runs, each with its own learning rate and clock.

The update rule is that of `torch.optim.AdamW` (Loshchilov, Hutter, ICLR 2019, arXiv 1711.05101),
which takes one learning rate for all; here it is per run, and single runs can pause.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8
_LEAST_STEP = 1e-30  # which is divided by


class AdamW:
    """The optimiser of one group of stacked parameters, which it changes in place."""

    def __init__(self, parameters: dict[str, Tensor], *, weight_decay: float) -> None:
        """Start with zero moments.

        Args:
            parameters: tensors (R, ...).
            weight_decay: decoupled, at least 0.
        """
        self.parameters = parameters
        self.weight_decay = weight_decay
        self.moments = {
            name: {"mean": torch.zeros_like(value), "square": torch.zeros_like(value)}
            for name, value in parameters.items()
        }

    @torch.no_grad()
    def step(self, gradients: dict[str, Tensor], lr: Tensor, count: Tensor) -> None:
        """Apply one update.

        Args:
            gradients: tensors (R, ...) like the parameters.
            lr: (R,) float learning rates; NaN pauses a run: nothing of it changes.
            count: (R,) float, the number of this update in each run, from 1.
        """
        paused = torch.isnan(lr)
        if not bool(paused.any()):
            for name, value in self.parameters.items():
                self._update(value, *self._of(name), gradients[name], lr, count)
            return
        active = (~paused).nonzero()[:, 0]
        for name, value in self.parameters.items():
            mean, square = self._of(name)
            parts = value[active], mean[active], square[active]
            self._update(*parts, gradients[name][active], lr[active], count[active])
            value[active], mean[active], square[active] = parts

    def _of(self, name: str) -> tuple[Tensor, Tensor]:
        moments = self.moments[name]
        return moments["mean"], moments["square"]

    def _update(
        self,
        value: Tensor,
        mean: Tensor,
        square: Tensor,
        gradient: Tensor,
        lr: Tensor,
        count: Tensor,
    ) -> None:
        per_run = (-1, *[1] * (value.dim() - 1))
        step = (lr / (1 - _BETA1**count)).clamp_min(_LEAST_STEP).view(per_run)
        root = (1 - _BETA2**count).sqrt().view(per_run)
        mean.lerp_(gradient, 1 - _BETA1)
        square.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
        if self.weight_decay:
            value.mul_(1 - lr.view(per_run) * self.weight_decay)
        # value - step * mean / (sqrt(square) / root + eps), in one buffer
        divisor = square.sqrt().div_(root * step).add_(_EPS / step)
        value.addcdiv_(mean, divisor, value=-1)
