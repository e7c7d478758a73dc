"""AdamW for one run by torch's own kernel, and for stacked runs, each with its rate and clock.

The update rule is that of `torch.optim.AdamW` (Loshchilov, Hutter, ICLR 2019, arXiv 1711.05101).
One run takes torch's fused kernel, which reads and writes every number once. Torch has no such
kernel with one learning rate for each run of a stack: `update_stack` writes the rule out, without
a question to the host, so that it can be compiled and captured.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.adamw import adamw

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8
_FUSED_ON = ("cpu", "cuda")
_LEAST_RATE = 1e-30  # which is divided by

Tensors = dict[str, Tensor]
Moments = dict[str, Tensors]


def zeros(parameters: Tensors) -> Moments:
    """Begin: name -> "mean" and "square" like the parameter, and "count", () updates so far."""
    return {
        name: {
            "mean": torch.zeros_like(value),
            "square": torch.zeros_like(value),
            "count": torch.zeros((), device=value.device),
        }
        for name, value in parameters.items()
    }


@torch.no_grad()
def update(
    parameters: Tensors,
    gradients: Tensors,
    moments: Moments,
    *,
    lr: float,
    weight_decay: float,
) -> None:
    """Move the parameters of one run in place.

    Args:
        parameters: tensors of any shape.
        gradients: the same names and shapes.
        moments: as `zeros` begins them.
        lr: learning rate, at least 0.
        weight_decay: decoupled, at least 0.
    """
    if not parameters:
        return
    own = [moments[name] for name in parameters]
    values = list(parameters.values())
    adamw(
        values,
        [gradients[name] for name in parameters],
        [each["mean"] for each in own],
        [each["square"] for each in own],
        [],
        [each["count"] for each in own],
        fused=values[0].device.type in _FUSED_ON,
        amsgrad=False,
        beta1=_BETA1,
        beta2=_BETA2,
        lr=lr,
        weight_decay=weight_decay,
        eps=_EPS,
        maximize=False,
    )


@torch.no_grad()
def update_stack(
    parameters: Tensors,
    gradients: Tensors,
    moments: Moments,
    *,
    lr: Tensor,
    weight_decay: Tensor,
    is_active: Tensor,
) -> None:
    """Move the parameters of R runs in place.

    Args:
        parameters: tensors (R, ...).
        gradients: the same names and shapes; of a run that pauses finite.
        moments: of R runs, stacked.
        lr: (R,) float learning rates.
        weight_decay: (R,) float, decoupled.
        is_active: (R,) float; 0 pauses a run: nothing of it changes. Else 1.
    """
    for name, value in parameters.items():
        mean, square, count = (moments[name][part] for part in ("mean", "square", "count"))
        per_run = (-1, *[1] * (value.dim() - 1))
        active, gradient = is_active.view(per_run), gradients[name]
        count.add_(is_active)
        known = count.clamp_min(1)
        rate = (lr / (1 - _BETA1**known)).clamp_min(_LEAST_RATE).view(per_run)
        root = (1 - _BETA2**known).sqrt().view(per_run)
        mean.lerp_(gradient, (1 - _BETA1) * active)
        square.lerp_(gradient * gradient, (1 - _BETA2) * active)
        value.mul_(1 - lr.view(per_run) * weight_decay.view(per_run) * active)
        # rate * mean / (sqrt(square) / root + eps), in one buffer
        divisor = square.sqrt().div_(root * rate).add_(_EPS / rate)
        value.addcdiv_(mean * active, divisor, value=-1)
