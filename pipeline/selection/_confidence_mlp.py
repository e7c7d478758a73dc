"""The confidence module: an MLP with one sigmoid per class, cross-fitted over folds.

The folds train as one batched program; every row is scored by the model that has not seen it. A
module that has seen a wrong label learns to believe it, so in-sample confidences hide label noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cache.errors import InputError
from pipeline.copies import first_copies
from pipeline.optimiser import AdamW

_WEIGHT_DECAY = 1e-4
_TILE = 4096


@dataclass(frozen=True)
class Settings:
    """How the module is trained; the fields are the options of the `confidence` selection."""

    folds: int
    epochs: int
    hidden: int
    dropout: float
    lr: float
    batch_size: int


def assign_folds(
    features: Tensor, labels: Tensor, folds: int, generator: torch.Generator
) -> Tensor:
    """Deals the rows of each class out over the folds, in random order.

    Rows with equal features share the fold of the first of them, so that no model scores a copy of
    what it has seen.

    Args:
        features: (N, F).
        labels: (N,) int64.
        folds: K, at least 2.
        generator: on the CPU.

    Returns:
        (N,) int64 in 0..K-1.
    """
    count = len(labels)
    shuffled = torch.randperm(count, generator=generator).to(labels.device)
    order = shuffled[labels[shuffled].argsort(stable=True)]  # by class, random within
    offset = torch.randint(folds, (1,), generator=generator).item()
    fold = torch.empty_like(labels)
    fold[order] = (torch.arange(count, device=labels.device) + int(offset)) % folds
    fold = fold[first_copies(features)]
    if bool((fold == fold[0]).all()):
        raise InputError(
            f"the confidence selection needs different rows, {count} equal ones were given: "
            "check the images, or use another --select"
        )
    return fold


def train(
    features: Tensor,
    labels: Tensor,
    fold: Tensor,
    num_classes: int,
    settings: Settings,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Trains K models, model k on the rows outside fold k, by binary cross-entropy.

    The loss is summed over classes and averaged over the batch. Output biases start at the odds of
    one class in C.

    Args:
        features: (N, F) centred.
        labels: (N,) int64, as given.
        fold: (N,) int64 in 0..K-1.
        num_classes: C.
        settings: how to train.
        generator: on the CPU; draws start, batches and dropout.

    Returns:
        The stacked parameters: w1 (K, F, H), b1 (K, H), w2 (K, H, C), b2 (K, C).
    """
    parameters = _start(features, num_classes, settings, generator)
    optimiser = AdamW(parameters, weight_decay=_WEIGHT_DECAY)  # the folds are its runs
    lr = torch.full((settings.folds,), settings.lr, device=features.device)
    count = torch.zeros_like(lr)
    for _ in range(settings.epochs):
        for index in _batches(fold, settings, generator):  # (K, B)
            batch = features[index]  # (K, B, F)
            shape = (*index.shape, settings.hidden)
            mask = torch.rand(shape, generator=generator).to(features.device) >= settings.dropout
            logits = forward(parameters, batch, mask / max(1 - settings.dropout, 1e-6))
            target = functional.one_hot(labels[index], num_classes).to(logits.dtype)
            value = functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
            gradients = torch.autograd.grad(value / index.shape[1], list(parameters.values()))
            count += 1
            optimiser.step(dict(zip(parameters, gradients, strict=True)), lr, count)
    return {name: tensor.detach() for name, tensor in parameters.items()}


def forward(parameters: dict[str, Tensor], features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Computes logits (K, B, C) of features (K, B, F); `mask` (K, B, H) is the scaled dropout."""
    hidden = functional.relu(features @ parameters["w1"] + parameters["b1"][:, None])
    if mask is not None:
        hidden = hidden * mask
    return hidden @ parameters["w2"] + parameters["b2"][:, None]


def out_of_fold(
    parameters: dict[str, Tensor], features: Tensor, fold: Tensor, top: int, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores every row by the model of its own fold, which has not seen it.

    Returns:
        classes (N, top) int64 of highest confidence, their confidences (N, top) and the
        confidence of the given label (N,), all in [0, 1].
    """
    count, top = len(features), min(top, parameters["b2"].shape[1])
    classes = torch.zeros(count, top, dtype=torch.int64, device=features.device)
    values = features.new_zeros(count, top)
    given = features.new_zeros(count)
    for k in range(parameters["b2"].shape[0]):
        model = {name: tensor[k : k + 1] for name, tensor in parameters.items()}
        for rows in (fold == k).nonzero()[:, 0].split(_TILE):  # type: ignore[no-untyped-call]
            confidence = forward(model, features[rows][None])[0].sigmoid()  # (T, C)
            values[rows], classes[rows] = confidence.topk(top, dim=1)
            given[rows] = confidence.gather(1, labels[rows][:, None])[:, 0]
    return classes, values, given


def _start(
    features: Tensor, num_classes: int, settings: Settings, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draws K models, Kaiming-normal by fan-in."""
    folds, hidden, num_features = settings.folds, settings.hidden, features.shape[1]
    w1 = torch.randn(folds, num_features, hidden, generator=generator) * (2 / num_features) ** 0.5
    w2 = torch.randn(folds, hidden, num_classes, generator=generator) * (1 / hidden) ** 0.5
    prior = -torch.log(torch.tensor(float(max(num_classes - 1, 1))))
    start = {
        "w1": w1,
        "b1": torch.zeros(folds, hidden),
        "w2": w2,
        "b2": prior.expand(folds, num_classes).clone(),
    }
    return {name: tensor.to(features.device).requires_grad_() for name, tensor in start.items()}


def _batches(fold: Tensor, settings: Settings, generator: torch.Generator) -> Tensor:
    """Draws one epoch: (steps, K, B) row numbers, fold k's batches without the rows of fold k.

    Folds of unequal size take equally many steps; the shorter ones begin again.
    """
    count = len(fold)
    sizes = [int((fold != k).sum()) for k in range(settings.folds)]
    batch = min(settings.batch_size, *sizes)
    steps = -(-max(sizes) // batch)
    orders = []
    for k in range(settings.folds):
        order = torch.randperm(count, generator=generator).to(fold.device)
        order = order[fold[order] != k]
        orders.append(order.repeat(-(-steps * batch // len(order)))[: steps * batch])
    return torch.stack(orders).view(settings.folds, steps, batch).transpose(0, 1)
