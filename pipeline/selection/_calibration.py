"""From the confidences of a module that has learned noisy labels to what they are worth."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_NEWTON_STEPS = 30
_CONVERGED = 1e-5  # of a parameter's change
_SMALLEST = 1e-12


def calibrated(confidence: Tensor, labels: Tensor, noise_rate: Tensor, how: str) -> Tensor:
    """Calibrate raw confidences (T, C) of rows with given labels (T,), as `confidence` says."""
    if how == "max":
        return confidence / confidence.amax(dim=1, keepdim=True).clamp_min(_SMALLEST)
    if how != "posterior":
        return confidence
    num_classes = confidence.shape[1]
    other = noise_rate / (num_classes - 1)  # chance of one particular wrong label
    share = confidence / confidence.sum(dim=1, keepdim=True).clamp_min(_SMALLEST)
    true = ((share - other) / (1 - noise_rate - other).clamp_min(1e-6)).clamp_min(1e-6)
    is_given = functional.one_hot(labels, num_classes).bool()
    joint = true * torch.where(is_given, 1 - noise_rate, other)
    return joint / joint.sum(dim=1, keepdim=True).clamp_min(1e-30)


def platt(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Fit sigmoid(slope * logit + offset) to the labels by maximum likelihood (Platt, 1999).

    One slope and one offset for all classes; by Newton's method, each step halved until it helps.
    The targets are Platt's, (n + 1) / (n + 2) for n given classes and 1 / (m + 2) for m others, so
    that the fit is finite where the labels are separated.

    Args:
        logits: (T, C) of rows that were held out.
        labels: (T,) int64.

    Returns:
        The slope and the offset.
    """
    rows, num_classes = logits.shape
    is_given = functional.one_hot(labels, num_classes).bool()
    target = torch.where(is_given, (rows + 1) / (rows + 2), 1 / (rows * (num_classes - 1) + 2))
    point = torch.tensor([1.0, 0.0], device=logits.device)
    for _ in range(_NEWTON_STEPS):
        step = _newton_step(point, logits, target)
        while step.abs().max() > _CONVERGED and not (
            _cost(point - step, logits, target) <= _cost(point, logits, target)
        ):
            step = step / 2
        if step.abs().max() <= _CONVERGED:
            break
        point = point - step
    slope, offset = point.tolist()
    return slope, offset


def _newton_step(point: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    share = torch.sigmoid(point[0] * logits + point[1])
    error, spread = share - target, share * (1 - share)
    gradient = torch.stack([(error * logits).mean(), error.mean()])
    across = (spread * logits).mean()
    hessian = torch.stack(
        [
            torch.stack([(spread * logits.square()).mean(), across]),
            torch.stack([across, spread.mean()]),
        ]
    )
    ridge = _SMALLEST + 1e-6 * hessian.diagonal().sum()  # equal logits leave the slope open
    step: Tensor = torch.linalg.solve(
        hessian + ridge * torch.eye(2, device=logits.device), gradient
    )
    return step


def _cost(point: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    moved = point[0] * logits + point[1]
    return (functional.softplus(moved) - target * moved).mean()
