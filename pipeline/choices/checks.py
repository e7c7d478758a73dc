"""What settings may not say: options that do not fit, and what means nothing beside the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from cache.errors import InputError
from pipeline.choices import catalogue
from pipeline.choices.catalogue import Entry, Value
from pipeline.choices.recipes import AUTO
from pipeline.choices.starts import RANDOM

GROUPS: tuple[Literal["loss"], Literal["select"]] = ("loss", "select")
LINEAR, HIDDEN = "linear", 512  # the usual head, and the usual width of a hidden layer


def refuse_group(key: str) -> None:
    """Refuse a key of an option that belongs neither to the loss nor to the selection."""
    group, is_dotted, _ = key.partition(".")
    if not is_dotted or group not in GROUPS:
        raise catalogue.unknown("group of options", group, GROUPS)


def refuse_options(
    group: Literal["loss", "select"], entry: Entry, given: Mapping[str, Value]
) -> None:
    """Refuse options that do not fit, and the lack of one without a default."""
    entry.check(given)
    for name, option in entry.options.items():
        if option.is_required and name not in given:
            kind = {"loss": "loss", "select": "selection"}[group]
            raise InputError(
                f"{kind} {entry.name} needs --set {group}.{name}=VALUE: it has no default"
            )


def needs_a_classifier(selection: str, loss: str) -> InputError:
    """Say that a selection with two heads needs another loss."""
    known = [
        name for name, entry in catalogue.entries("losses").items() if "logits" in entry.functions
    ]
    return InputError(
        f"selection {selection} compares the class scores of two heads, and loss {loss} has none: "
        f"use --loss {' or '.join(known)}"
    )


def refuse_unfit_head(
    *,
    head: str,
    hidden: int,
    dropout: float,
    feature_noise: float,
    start: str,
    asked: str,
    trains: bool,
) -> None:
    """Refuse what a head that is trained would be, where none is, and what it lacks.

    Args:
        head: "linear", "residual" or "mlp".
        hidden: the width of its hidden layer.
        dropout: on the features.
        feature_noise: on the features.
        start: where it begins.
        asked: the name behind `--loss`.
        trains: whether that trains a head.

    Raises:
        InputError: it is so.
    """
    given = {
        "head": head != LINEAR,
        "hidden": hidden != HIDDEN,
        "dropout": dropout > 0,
        "feature_noise": feature_noise > 0,
    }
    chosen = [name for name, is_given in given.items() if is_given]
    refuse_idle(chosen, asked=asked, trains=trains, head=head)
    if head == "mlp" and start != RANDOM:
        raise InputError(
            f"--start {start} begins a linear map, and --head mlp has none from features to "
            "embeddings: leave --start out, or use --head residual"
        )


def refuse_idle(given: Iterable[str], *, asked: str, trains: bool, head: str) -> None:
    """Refuse fields that somebody has set and that mean nothing beside the others.

    Args:
        given: names of the fields that were set.
        asked: the name behind `--loss`.
        trains: whether that trains a head.
        head: which one.

    Raises:
        InputError: there is such a field.
    """
    untrained = not trains, "trains no head", "prism"
    idle = {
        "epochs": (not trains, "trains no epoch", "prism"),
        "batch_size": (not trains, "takes no steps", "prism"),
        **dict.fromkeys(("head", "hidden", "dropout", "feature_noise", "views"), untrained),
        "budget": (asked != AUTO, "chooses nothing", AUTO),
    }
    for name in given:
        is_idle, why, other = idle.get(name, (False, "", ""))
        if is_idle:
            raise InputError(
                f"{name} does nothing with --loss {asked}, which {why}: leave it out, or "
                f"use --loss {other}"
            )
        if name == "hidden" and head == LINEAR:
            raise InputError(
                "hidden does nothing with a linear head, which has no hidden layer: leave it out, "
                "or use --head residual or --head mlp"
            )
