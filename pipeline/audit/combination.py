"""One calibrated probability from several sources, without any true label.

The sources judge the labels again after some were made wrong on purpose (`planting`). With z the
log odds of the sources, wrong labels are l(z) = exp(a + b'z) times as frequent at z as right ones
(b >= 0). Planted labels are wrong; of the others a share e is wrong. So at z a label is a planted
one with the probability

    pi l / (pi l + (1 - pi) (1 - e + e l)),    pi = share of planted labels,

and a and b are those that make what is observed most likely. The label of an untouched row is wrong
with probability

    p = e l / (1 - e + e l)

e is read off where hardly any right label is left: of the others at most the wrong ones, a share e,
are as suspicious as planted labels, so for every threshold t

    e <= (share of the others above t) / (share of the planted above t),

and the smallest of these is taken.

The project's own; learning from positive and unlabelled rows as in Elkan and Noto, KDD 2008, and
the share as in Blanchard, Lee, Scott, JMLR 2010.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional

# Deviations that are expected of b: among each other, so that sources are trusted alike unless the
# planted labels say otherwise, and of their sum from 1, so that it stays finite.
_APART, _LOUD = 0.05, 0.5
_LEAST, _MOST = 1e-3, 0.95  # of the labels are wrong
_QUANTILES = 15
_DEEPEST = 0.5  # quantile of the planted beyond which too few are left to compare
_ROUNDS = 3
_SMALLEST = 1e-6


class Model(NamedTuple):
    """A fitted combination.

    Attributes:
        offset: a.
        slopes: (S,) float64, b, at least 0.
        rate: e, share of the untouched labels that are wrong, in (0, 1).
    """

    offset: float
    slopes: Tensor
    rate: float

    def log_odds(self, evidence: Tensor) -> Tensor:
        """Give the log odds (N,) of wrong against right for sources (N, S); NaN counts as 0."""
        z = evidence.double().nan_to_num(0.0)
        ratio = self.offset + z @ self.slopes.to(z.device)
        return ratio + float(np.log(self.rate / (1 - self.rate)))


def fit(evidence: Tensor, is_planted: Tensor) -> Model:
    """Find a, b and e.

    Args:
        evidence: (N, S) log odds of the sources, NaN = unknown.
        is_planted: (N,) bool, True somewhere and False somewhere.
    """
    z, planted = evidence.double().nan_to_num(0.0).cpu(), is_planted.cpu()
    model = Model(0.0, torch.full((z.shape[1],), 1 / z.shape[1], dtype=torch.float64), _MOST)
    for _ in range(_ROUNDS):
        rate = share_of_wrong(z @ model.slopes, planted)
        model = _most_likely(z, planted, model, rate)
    return model


def share_of_wrong(scores: Tensor, is_planted: Tensor) -> float:
    """Estimate e from scores (N,), high = wrong, as above."""
    planted, others = scores[is_planted], scores[~is_planted]
    at = torch.linspace(0, _DEEPEST, _QUANTILES, dtype=scores.dtype)
    shares = [
        float((others >= t).double().mean() / (planted >= t).double().mean())
        for t in planted.quantile(at)
    ]
    return min(max(min(shares), _LEAST), _MOST)


def _most_likely(z: Tensor, is_planted: Tensor, start: Model, rate: float) -> Model:
    """Find a and b of largest likelihood, given e."""
    target = is_planted.double()
    prior = float(target.mean().logit())

    def cost(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        point = torch.tensor(values, requires_grad=True)
        ratio = point[0] + z @ point[1:]  # log l
        right = torch.full_like(ratio, float(np.log(1 - rate)))
        logit = prior + ratio - torch.logaddexp(right, ratio + float(np.log(rate)))
        loss = functional.binary_cross_entropy_with_logits(logit, target)
        apart = (point[1:] - point[1:].mean()).square().sum() / _APART**2
        loud = (point[1:].sum() - 1).square() / _LOUD**2
        loss = loss + (apart + loud) / (2 * len(z))
        (slope,) = torch.autograd.grad(loss, point)
        return float(loss.detach()), slope.numpy()

    first = np.array([start.offset, *start.slopes.tolist()])
    bounds = [(None, None), *[(0, None)] * z.shape[1]]
    found = minimize(cost, first, jac=True, method="L-BFGS-B", bounds=bounds).x
    return Model(float(found[0]), torch.from_numpy(found[1:]), rate)


def with_dynamics(log_odds: Tensor, suspicion: Tensor) -> Tensor:
    """Average the log odds with those of a source that has not seen planted labels.

    What a finished training says cannot be asked again about other labels. So its scale is taken
    from the combination, p = sigmoid(c + d logit(suspicion)) with c, d >= 0 as close to p as can
    be, and the log odds of both are averaged.

    Args:
        log_odds: (N,) of the combination.
        suspicion: (N,) in [0, 1], NaN = unknown: there the combination stays alone.
    """
    known = ~suspicion.isnan()
    z = suspicion[known].double().clamp(_SMALLEST, 1 - _SMALLEST).logit()
    if len(z) == 0 or float(z.max() - z.min()) < _SMALLEST:
        return log_odds
    target = log_odds[known].sigmoid().cpu()
    x = z.cpu()

    def cost(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        point = torch.tensor(values, requires_grad=True)
        loss = functional.binary_cross_entropy_with_logits(point[0] + point[1] * x, target)
        (slope,) = torch.autograd.grad(loss, point)
        return float(loss.detach()), slope.numpy()

    offset, slope = minimize(
        cost, np.array([0.0, 1.0]), jac=True, method="L-BFGS-B", bounds=[(None, None), (0, None)]
    ).x
    both = log_odds.clone()
    both[known] = (log_odds[known] + float(offset) + float(slope) * z) / 2
    return both
