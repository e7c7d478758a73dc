"""Every method as a user may choose it, and features and labels to train two runs of it on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.choices import catalogue
from pipeline.choices.assembly import method_of
from pipeline.choices.recipes import RECIPES
from pipeline.choices.settings import Settings
from pipeline.program.method import Method

from .examples import LOSSES, REQUIRED, SELECTIONS, generator

ROWS, FEATURES, CLASSES = 96, 10, 6  # of `clouds`
METHODS = {
    **{entry.name: {"loss": entry.name, "selection": "none"} for entry in LOSSES},
    **{f"recipe-{name}": {"loss": name} for name, each in RECIPES.items() if each.loss},
    **{
        f"select-{entry.name}": {"loss": "normalized-softmax", "selection": entry.name}
        for entry in SELECTIONS
    },
    "queue": {"loss": "memory-contrastive", "bank": "queue"},
}
every_method = pytest.mark.parametrize("name", METHODS)
FAST = {"confidence": {"select.hidden": 16, "select.epochs": 1}}  # a smaller module


def method(name: str, batch_size: int = 24) -> Method:
    """One of `METHODS`."""
    return method_with(**METHODS[name], batch_size=batch_size)


def method_with(
    loss: str, selection: str | None = None, *, batch_size: int = 24, **more: object
) -> Method:
    """What a user gets who says this, and whatever has no default."""
    settings = Settings(loss=loss, selection=selection, batch_size=batch_size, **more)
    selection = settings.recipe.selection
    known = catalogue.find("selection", selection).options
    options = {f"select.{key}": REQUIRED[key] for key, each in known.items() if each.is_required}
    return method_of(settings.replaced(options=options | FAST.get(selection, {})).check())


def clouds() -> tuple[Tensor, Tensor]:
    """Features (N, F) and the labels (R, N) of two runs, a third of them wrong."""
    labels = torch.arange(ROWS) % CLASSES
    features = torch.randn(CLASSES, FEATURES, generator=generator(0))[labels]
    features = features + 0.7 * torch.randn(ROWS, FEATURES, generator=generator(1))
    other = torch.randint(CLASSES, (2, ROWS), generator=generator(2))
    is_wrong = torch.rand(2, ROWS, generator=generator(3)) < 1 / 3
    return features, torch.where(is_wrong, other, labels)
