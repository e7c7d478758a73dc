"""Agreement: how far a row's neighbours carry its label, next to what is usual in its class; ours.

    a_i = n_i / k_i,   m_c = sum_{y_i = c} a_i^2 / sum_{y_i = c} a_i,   w_i = min(1, a_i / m_c)^2

n_i = how many of row i's k_i nearest other rows carry its label, k_i = min(neighbours, size of the
class - 1); c = y_i. m_c is the agreement that is usual in a class: as every row counts by its own
agreement, rows that nobody agrees with do not lower it. Weights are soft, no noise rate and no
threshold is asked for, and nothing is compared with other classes: a wrong label is found as well
where the right class has no label of its own (open-set noise).

Neighbours are sought by cosine, twice: first in whitened features, then in features whitened by the
covariance of agreeing pairs,

    W = sum_{i, j near i, y_j = y_i} (x_i - x_j)(x_i - x_j)' / sum 1,

a within-class covariance that wrong labels hardly enter, for two rows have to be alike and labelled
alike. A row without another one in its class, exact copies apart, is kept (w = 1).

A row that lies among trusted rows of another class is offered to that class with weight r_i:

    v_ic = sum of w_j over the 10 nearest with y_j = c, next to min(10, sum of w in c)
    r_i = (1 - w_i) min(1, v_ic / u_c)^4,   c = the other class of largest ratio

with u_c = what v_ic usually is for trusted rows of their own class, as m_c above. Closed forms
count the row for both classes; losses, which know one label for a row, use w alone.

What each of these parts is worth is measured in benchmarks/method_parts.py; `looks`, `relative` and
`offers` leave them out.

Source: the project's own; counting neighbours' labels is old (Wilson, IEEE SMC 1972), the pairs are
those of local discriminant analysis (Sugiyama, JMLR 2007) with a label in place of a scale.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.measures import neighbourhood, whitening
from pipeline.measures.copies import first_copies
from pipeline.program.batch import Batch
from pipeline.selection._state import State, weigh

_RIDGES = (1.0, 0.43)  # of the first space and of the second, in units of the mean variance
_NEAREST = 10  # neighbours that say where else a row may belong
_LEAST = 1e-3
_TILE = 2**16


def start(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    generator: torch.Generator,
    *,
    neighbours: Annotated[int, "at least 1"] = 50,
    power: Annotated[float, "above 0"] = 2.0,
    looks: Annotated[int, "at least 0, at most 2"] = 2,
    relative: bool = True,
    offers: bool = True,
) -> State:
    """Weighs all rows by their neighbours' labels. The noise rate stays unknown.

    Args:
        features: (N, F).
        labels: (N,) int64, as given.
        num_classes: C.
        generator: not used.
        neighbours: k, at least 1; where there are fewer different rows, all of them.
        power: what a_i / m_c is raised to, above 0.
        looks: 2 = both spaces; 1 = whitened features only; 0 = features as they are, but centred.
        relative: whether agreement is taken next to what is usual in the class; else m_c = 1.
        offers: whether doubtful rows are offered to another class.
    """
    # Apple's devices have neither float64 nor eigenvectors.
    there = features.cpu() if features.device.type == "mps" else features
    named, first = labels.to(there.device), first_copies(there)
    weights = torch.ones(len(labels), device=there.device)
    other, offered = named, 0 * weights
    if bool((first != first[0]).any()):
        near = _neighbours(there, named, first, neighbours, looks)
        size = _different_rows(named, first, num_classes)[named]  # (N,)
        share = agreement(near, named, size)
        if relative:
            share = share / usual(share, torch.ones_like(share), named, num_classes)[named]
        weights = torch.where(size > 1, share.clamp(max=1) ** power, 1.0)
        if offers:
            other, ratio = elsewhere(near[:, :_NEAREST], named, weights, num_classes)
            offered = (1 - weights) * ratio.clamp(max=1) ** 4
    weights, other, offered = (each.to(features.device) for each in (weights, other, offered))
    extras = {"other": other, "other_weights": offered}
    return State(weights, weights, torch.full_like(weights[0], torch.nan), extras)


def _neighbours(features: Tensor, labels: Tensor, first: Tensor, count: int, looks: int) -> Tensor:
    """Find the nearest different rows of each row, (N, k) int64, nearest first."""
    values = whitening.centred(features)
    if looks == 0:
        return neighbourhood.find(functional.normalize(values, dim=1), first, count).rows
    space = whitening.levelled(values, values.T @ values / len(values), ridge=_RIDGES[0])
    near = neighbourhood.find(space, first, count).rows
    if looks == 1:
        return near
    space = whitening.levelled(values, pair_covariance(values, near, labels), ridge=_RIDGES[1])
    return neighbourhood.find(space, first, count).rows


def raised(state: State, exponent: float) -> State:
    """Weighs all rows anew as with `exponent` times the power, without looking at neighbours."""
    weights = state.weights**exponent
    kept = ((1 - weights) / (1 - state.weights)).nan_to_num(0.0)  # 0 / 0: nothing was offered
    extras = {**state.extras, "other_weights": kept * state.extras["other_weights"]}
    return State(weights, weights, state.noise_rate, extras)


def select(state: State, batch: Batch) -> tuple[Batch, State]:
    """Weighs the batch's rows as all rows were weighed at the start."""
    return weigh(state, batch), state


def pair_covariance(values: Tensor, near: Tensor, labels: Tensor) -> Tensor:
    """Computes W from the pairs that are near and labelled alike, half of it per row: (F, F).

    Args:
        values: (N, F) float32.
        near: (N, k) int64, rows near each row.
        labels: (N,) int64.
    """
    same = (labels[near] == labels[:, None]).to(values.dtype)  # (N, k)
    degree = same.sum(dim=1).index_add_(0, near.flatten(), same.flatten())  # (N,)
    of_partners = functional.embedding_bag(near, values, per_sample_weights=same, mode="sum")
    across = values.T @ of_partners
    around = (values * degree[:, None]).T @ values - across - across.T
    return around / (2 * same.sum()).clamp_min(1)


def agreement(near: Tensor, labels: Tensor, size: Tensor) -> Tensor:
    """Computes a: (N,) in [0, 1].

    Args:
        near: (N, k) int64, the nearest other rows, nearest first.
        labels: (N,) int64.
        size: (N,) how many different rows carry each row's label.
    """
    place = torch.arange(near.shape[1], device=near.device)
    count = (size - 1).clamp(1, near.shape[1])  # (N,)
    same = (labels[near] == labels[:, None]) & (place < count[:, None])
    return same.sum(dim=1) / count


def usual(share: Tensor, weights: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Computes m, each row counting by its own share and a weight: (C,), above 0.

    Args:
        share: (N,) at least 0.
        weights: (N,) at least 0.
        labels: (N,) int64.
        num_classes: C.
    """
    zeros = share.new_zeros(num_classes)
    squares = zeros.index_add(0, labels, weights * share.square())
    sums = zeros.index_add(0, labels, weights * share)
    return (squares / sums.clamp_min(_LEAST)).clamp_min(_LEAST)


def elsewhere(
    near: Tensor, labels: Tensor, weights: Tensor, num_classes: int
) -> tuple[Tensor, Tensor]:
    """Finds the other class whose trusted rows lie nearest.

    Args:
        near: (N, k) int64, nearest other rows.
        labels: (N,) int64.
        weights: (N,) in [0, 1], how much each row is trusted.
        num_classes: C.

    Returns:
        (N,) int64, that class, the given one where there is no other; (N,) v / u, 0 there.
    """
    mass = weights.new_zeros(num_classes).index_add(0, labels, weights)
    room = mass.clamp(1, near.shape[1])  # (C,)
    names, votes = labels[near], weights[near]  # (N, k)
    is_own = names == labels[:, None]
    own = (votes * is_own).sum(dim=1) / room[labels]
    typical = usual(own.clamp(max=1), weights, labels, num_classes)
    parts = torch.split(torch.arange(len(labels), device=labels.device), _TILE)
    together = torch.cat([_same_name(names[part], votes[part]) for part in parts])  # (N, k)
    ratio = (together / room[names]).clamp(max=1) / typical[names]
    best = ratio.masked_fill(is_own, -1).max(dim=1)
    exists = best.values > 0
    found = names.gather(1, best.indices[:, None])[:, 0]
    return torch.where(exists, found, labels), best.values.clamp_min(0)


def _same_name(names: Tensor, votes: Tensor) -> Tensor:
    """Adds up, for each neighbour (T, k), the votes of all neighbours with its label."""
    return ((names[:, :, None] == names[:, None, :]) * votes[:, None, :]).sum(dim=2)


def _different_rows(labels: Tensor, first: Tensor, num_classes: int) -> Tensor:
    """Counts the different rows of each class, (C,) int64."""
    pairs: Tensor = torch.unique(torch.stack([labels, first]), dim=1)
    return pairs[0].bincount(minlength=num_classes)
