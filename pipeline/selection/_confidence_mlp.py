"""The confidence module: an MLP with one sigmoid per class, cross-fitted over folds.

The folds train as one batched program; every row is scored by the model that has not seen it. A
module that has seen a wrong label learns to believe it, so in-sample confidences hide label noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cache.errors import InputError
from pipeline.copies import first_copies
from pipeline.program.optimiser import AdamW

Models = dict[str, Tensor]  # w1 (K, F, H), b1 (K, H), w2 (K, H, C), b2 (K, C)
_WEIGHT_DECAY = 1e-4
_PATIENCE = 3  # epochs without a lower held-out loss
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
) -> Models:
    """Train K models, model k on the rows outside fold k, by binary cross-entropy.

    The loss is summed over classes and averaged over the batch. Output biases start at the odds of
    one class in C. Training stops when the loss on the held-out rows, with their given labels, has
    not fallen for some epochs; the models of the best epoch are returned.

    Args:
        features: (N, F).
        labels: (N,) int64, as given.
        fold: (N,) int64 in 0..K-1.
        num_classes: C.
        settings: how to train.
        generator: on the CPU; draws start, batches and dropout.
    """
    models = _start(features, num_classes, settings, generator)
    optimiser = AdamW(models, weight_decay=_WEIGHT_DECAY)  # the folds are its runs
    lr = torch.full((settings.folds,), settings.lr, device=features.device)
    count = torch.zeros_like(lr)
    best, best_loss, best_epoch = models, float("inf"), 0
    for epoch in range(settings.epochs):
        for index in _batches(fold, settings, generator):  # (K, B)
            loss = _training_loss(models, features[index], labels[index], settings, generator)
            gradients = torch.autograd.grad(loss, list(models.values()))
            count += 1
            optimiser.step(dict(zip(models, gradients, strict=True)), lr, count)
        held_out = _held_out_loss(models, features, labels, fold)
        if held_out < best_loss:
            best_loss, best_epoch = held_out, epoch
            best = {name: tensor.detach().clone() for name, tensor in models.items()}
        if epoch - best_epoch >= _PATIENCE:
            break
    return best


def forward(models: Models, features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute logits (K, B, C) of features (K, B, F); `mask` (K, B, H) is the scaled dropout."""
    hidden = functional.relu(features @ models["w1"] + models["b1"][:, None])
    if mask is not None:
        hidden = hidden * mask
    return hidden @ models["w2"] + models["b2"][:, None]


def out_of_fold(models: Models, features: Tensor, fold: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Score every row by the model of its own fold, which has not seen it, tile by tile.

    Yields:
        (T,) row numbers and their (T, C) logits.
    """
    for k in range(models["b2"].shape[0]):
        model = {name: tensor[k : k + 1].detach() for name, tensor in models.items()}
        for rows in torch.split(torch.where(fold == k)[0], _TILE):
            yield rows, forward(model, features[rows][None])[0]


def _training_loss(
    models: Models, batch: Tensor, labels: Tensor, settings: Settings, generator: torch.Generator
) -> Tensor:
    shape = (*labels.shape, settings.hidden)
    kept = torch.rand(shape, generator=generator).to(batch.device) >= settings.dropout
    logits = forward(models, batch, kept / (1 - settings.dropout))
    return _cross_entropy(logits, labels) / labels.shape[1]


def _held_out_loss(models: Models, features: Tensor, labels: Tensor, fold: Tensor) -> float:
    scored = out_of_fold(models, features, fold)
    return sum(float(_cross_entropy(logits, labels[rows])) for rows, logits in scored)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum the binary cross-entropies of all classes: logits (..., C), labels (...)."""
    target = functional.one_hot(labels, logits.shape[-1]).to(logits.dtype)
    return functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")


def _start(
    features: Tensor, num_classes: int, settings: Settings, generator: torch.Generator
) -> Models:
    """Draw K models, Kaiming-normal by fan-in."""
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
