"""The confidence module: an MLP with one sigmoid per class, cross-fitted over folds.

The folds train as one batched program; every row is scored by the model that has not seen it. A
module that has seen a wrong label learns to believe it, so in-sample confidences hide label noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from cache.errors import InputError
from pipeline.measures.copies import first_copies
from pipeline.program import optimiser

Models = dict[str, Tensor]  # w1 (K, F, H), b1 (K, H), ..., the last w (K, H, C), b (K, C)
_WEIGHT_DECAY = 1e-4
_PATIENCE = 3  # epochs without a lower held-out loss
_TILE = 4096


@dataclass(frozen=True)
class Settings:
    """How the module is trained; the fields are the options of the `confidence` selection."""

    folds: int
    epochs: int
    depth: int
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
    moments = optimiser.zeros(models)
    best, best_loss, best_epoch = models, float("inf"), 0
    for epoch in range(settings.epochs):
        for index in _batches(fold, settings, generator):  # (K, B)
            loss = _training_loss(models, features[index], labels[index], settings, generator)
            gradients = torch.autograd.grad(loss, list(models.values()))
            optimiser.update(
                models,
                dict(zip(models, gradients, strict=True)),
                moments,
                lr=settings.lr,
                weight_decay=_WEIGHT_DECAY,
            )
        held_out = _held_out_loss(models, features, labels, fold)
        if held_out < best_loss:
            best_loss, best_epoch = held_out, epoch
            best = {name: tensor.detach().clone() for name, tensor in models.items()}
        if epoch - best_epoch >= _PATIENCE:
            break
    return best


def forward(models: Models, features: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
    """Compute logits (K, B, C) of features (K, B, F).

    Args:
        models: the layers of K models.
        features: (K, B, F).
        masks: scaled dropout (K, B, H) of each hidden layer; empty = no dropout.
    """
    depth = len(models) // 2 - 1
    values = features
    for layer in range(1, depth + 1):
        values = functional.relu(values @ models[f"w{layer}"] + models[f"b{layer}"][:, None])
        if masks:
            values = values * masks[layer - 1]
    return values @ models[f"w{depth + 1}"] + models[f"b{depth + 1}"][:, None]


def out_of_fold(models: Models, features: Tensor, fold: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Score every row by the model of its own fold, which has not seen it, tile by tile.

    Yields:
        (T,) row numbers and their (T, C) logits.
    """
    for k in range(len(models["b1"])):
        model = {name: tensor[k : k + 1].detach() for name, tensor in models.items()}
        for rows in torch.split(torch.where(fold == k)[0], _TILE):
            yield rows, forward(model, features[rows][None])[0]


def _training_loss(
    models: Models, batch: Tensor, labels: Tensor, settings: Settings, generator: torch.Generator
) -> Tensor:
    shape = (*labels.shape, settings.hidden)
    kept = [torch.rand(shape, generator=generator) for _ in range(settings.depth)]
    masks = [(each >= settings.dropout).to(batch.device) / (1 - settings.dropout) for each in kept]
    logits = forward(models, batch, masks)
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
    sizes = [features.shape[1], *[settings.hidden] * settings.depth, num_classes]
    start = {}
    for layer, (wide, narrow) in enumerate(pairwise(sizes), start=1):
        gain = 2 if layer <= settings.depth else 1  # a rectifier follows, or the output
        drawn = torch.randn(settings.folds, wide, narrow, generator=generator)
        start[f"w{layer}"] = drawn * (gain / wide) ** 0.5
        start[f"b{layer}"] = torch.zeros(settings.folds, narrow)
    start[f"b{settings.depth + 1}"] -= torch.log(torch.tensor(float(max(num_classes - 1, 1))))
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
