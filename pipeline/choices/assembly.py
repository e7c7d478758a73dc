"""From settings, which are words, to a method and a schedule, which are calls and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from cache.errors import InputError
from pipeline.choices import catalogue, library
from pipeline.choices.catalogue import Value
from pipeline.choices.settings import Settings
from pipeline.losses import _library
from pipeline.program.method import Method
from pipeline.program.schedule import Schedule


def method_of(settings: Settings) -> Method:
    """Bring loss and selection together as the settings say."""
    recipe = settings.recipe
    if recipe.loss is None:
        raise InputError(f"{settings.loss} trains nothing")
    loss, loss_options = _loss_of(recipe.loss, settings.options_of("loss"))
    selection = catalogue.find("selection", recipe.selection).load()
    batch_size = settings.batch_size or loss.BATCH_SIZE
    if loss.SAMPLER == "balanced" and batch_size < settings.rows_per_class:
        raise InputError(
            f"batch_size is {batch_size}: loss {recipe.loss} needs at least rows_per_class "
            f"({settings.rows_per_class}) rows in each step"
        )
    return Method(
        loss_module=loss,
        selection_module=selection,
        loss_options=loss_options,
        select_options=settings.options_of("select"),
        batch_size=batch_size,
        rows_per_class=settings.rows_per_class,
        bank=settings.bank or str(getattr(selection, "BANK", "full")),
        bank_size=settings.bank_size,
    )


def _loss_of(name: str, options: Mapping[str, Value]) -> tuple[ModuleType, Mapping[str, Value]]:
    """Load a loss, and leave the options that it has to be called with."""
    if library.is_member(name):
        return _library.bind(name, options), {}
    return catalogue.find("losses", name).load(), options


def schedule_of(settings: Settings) -> Schedule:
    """Read from the settings what to train, how long and how fast."""
    return Schedule(
        epochs=settings.epochs,
        dim=settings.dim,
        lr=settings.lr,
        proxy_lr=settings.proxy_lr,
        weight_decay=settings.weight_decay,
        head=settings.head,
        hidden=settings.hidden,
        dropout=settings.dropout,
        feature_noise=settings.feature_noise,
    )
