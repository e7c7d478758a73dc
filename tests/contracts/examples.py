"""What every loss and every selection can be fed with, made from its catalogue entry alone."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.choices import catalogue
from pipeline.program.batch import Batch
from pipeline.program.memory import Memory

ROWS, CLASSES, DIM, SLOTS = 12, 7, 5, 30
LOSSES = list(catalogue.entries("losses").values())
SELECTIONS = list(catalogue.entries("selection").values())
# Values for options that have no default.
REQUIRED = {"noise_rate": 0.25}

Parameters = dict[str, Tensor]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unit_rows(rows: int, dim: int, seed: int) -> Tensor:
    vectors = torch.randn(rows, dim, dtype=torch.float64, generator=generator(seed))
    return functional.normalize(vectors, dim=1)


def make_batch(seed: int = 0, rows: int = ROWS) -> Batch:
    """A float64 batch with fractional weights, confidences, and a memory with empty slots.

    Class 2 has no row in the batch; some of the batch's own rows are in the memory.
    """
    labels = torch.randint(CLASSES - 1, (rows,), generator=generator(seed + 1))
    labels = labels + (labels >= 2)
    is_full = torch.arange(SLOTS) % 6 > 0
    memory = Memory(
        embeddings=unit_rows(SLOTS, DIM, seed + 2),
        labels=torch.randint(CLASSES, (SLOTS,), generator=generator(seed + 3)),
        rows=torch.where(is_full, torch.arange(SLOTS), -1),
        weights=is_full * torch.rand(SLOTS, dtype=torch.float64, generator=generator(seed + 4)),
        pointer=torch.tensor(4),
    )
    return Batch(
        embeddings=unit_rows(rows, DIM, seed + 5),
        labels=labels,
        rows=torch.arange(rows) + 7,
        weights=0.2 + 0.8 * torch.rand(rows, dtype=torch.float64, generator=generator(seed + 6)),
        memory=memory,
        confidences=torch.rand(rows, CLASSES, dtype=torch.float64, generator=generator(seed + 7)),
    )


def certain(batch: Batch) -> Batch:
    """The same rows with confidence 1 in the label and 0 elsewhere."""
    return batch._replace(confidences=functional.one_hot(batch.labels, CLASSES).double())


def take(batch: Batch, rows: Tensor) -> Batch:
    """The given rows of a batch, with its memory and its survey."""
    return batch._replace(
        embeddings=batch.embeddings[rows],
        labels=batch.labels[rows],
        rows=batch.rows[rows],
        weights=batch.weights[rows],
        confidences=None if batch.confidences is None else batch.confidences[rows],
    )


def surveyed(module: ModuleType, batch: Batch, names: Tensor | None = None, seed: int = 0) -> Batch:
    """The batch with what the loss finds in 90 random rows of uneven classes, if it looks.

    Class c is called names[c] there.
    """
    if not hasattr(module, "survey"):
        return batch
    uniform = torch.rand(90, generator=generator(seed + 8))
    labels = (uniform**2 * CLASSES).long()
    labels = labels if names is None else names[labels]
    weights = torch.ones(90, dtype=torch.float64)
    rows = unit_rows(90, DIM, seed + 9)
    return batch._replace(survey=module.survey(rows, labels, weights, CLASSES, generator(seed)))


def cast(batch: Batch, dtype: torch.dtype) -> Batch:
    """The batch with every float in another type."""

    def to(value: Any) -> Any:
        is_float = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(dtype) if is_float else value

    return torch.utils._pytree.tree_map(to, batch)


def make_parameters(module: ModuleType, seed: int = 0) -> Parameters:
    """The loss's own tensors in float64; none for a loss that learns nothing itself."""
    if not hasattr(module, "parameters"):
        return {}
    drawn = module.parameters(CLASSES, DIM, generator(seed))
    return {name: value.double() for name, value in drawn.items()}


def required(function: Any) -> dict[str, float]:
    """Values for the options of a function that have no default."""
    given = inspect.signature(function).parameters.values()
    keywords = [p for p in given if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    return {p.name: REQUIRED[p.name] for p in keywords}


def value_and_gradients(
    module: ModuleType, parameters: Parameters, batch: Batch, **options: float
) -> tuple[Tensor, Tensor, Parameters]:
    """The loss, its gradient by the embeddings (B, D), and its gradients by the parameters."""
    embeddings = batch.embeddings.detach().clone().requires_grad_()
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in parameters.items()}
    value = module.loss(leaves, batch._replace(embeddings=embeddings), **options)
    by_rows, *by_parameters = torch.autograd.grad(value, [embeddings, *leaves.values()])
    return value.detach(), by_rows, dict(zip(leaves, by_parameters, strict=True))
