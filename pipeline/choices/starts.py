"""Where a head that is trained begins: drawn, at principal directions, or at a closed form."""

from __future__ import annotations

from collections.abc import Mapping

from cache.errors import InputError
from pipeline.choices import catalogue
from pipeline.choices.catalogue import Value

RANDOM, PCA = "random", "pca"


def refuse_unfit(start: str, *, asked: str, loss: str | None, options: Mapping[str, Value]) -> None:
    """Refuse a start that does not exist, or that something else stands against.

    Args:
        start: "random", "pca" or a closed form.
        asked: the name behind `--loss`.
        loss: what it trains; None = nothing.
        options: of the loss.

    Raises:
        InputError: it is so.
    """
    if start == RANDOM:
        return
    known = [RANDOM, PCA, *catalogue.entries("closed_forms")]
    if start not in known:
        raise catalogue.unknown("start", start, known)
    if loss is None:
        raise InputError(
            f"--start {start} does nothing with --loss {asked}, which trains no epoch: leave it "
            "out, or name a loss such as --loss prism"
        )
    if options.get("start", RANDOM) != RANDOM:
        raise InputError(
            f"--start {start} begins proxies at the means of classes and loss.start="
            f"{options['start']} elsewhere: leave --start out, or add --set loss.start={RANDOM}"
        )


def form_of(start: str) -> tuple[str, dict[str, Value]]:
    """Say which closed form computes a start that is not drawn, and with which options."""
    return ("whiten", {"shrinkage": 1.0}) if start == PCA else (start, {})
