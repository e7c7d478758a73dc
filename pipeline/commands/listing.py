"""dml list: what there is to choose from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from pipeline.choices import catalogue
from pipeline.commands._options import (
    JsonOption,
)
from pipeline.output.terminal import show

Listed = Literal["losses", "selections", "backbones", "noise", "datasets"]


def list_entries(
    what: Annotated[Listed, typer.Argument(help="What to list.")] = "losses",
    as_json: JsonOption = False,
) -> None:
    """List what there is to choose from, with options and their defaults.

    Examples:

    [bold]dml list[/]

    [bold]dml list selections[/]

    [bold]dml list noise --json[/]
    """
    from pipeline.choices.recipes import RECIPES
    from pipeline.output.present import catalogue_json, catalogue_table, recipe_table, recipes_json

    folders: dict[Listed, catalogue.Kind] = {
        "losses": "losses",
        "selections": "selection",
        "backbones": "backbones",
        "noise": "noise",
        "datasets": "datasets.official",
    }
    kind = folders[what]
    entries = catalogue.entries(kind).values()
    facts = catalogue_json(entries)
    lines: list[Any] = [catalogue_table(entries)]
    if what == "losses":
        forms = catalogue.entries("closed_forms").values()
        facts = [*recipes_json(RECIPES), *facts, *catalogue_json(forms)]
        lines = [recipe_table(RECIPES), "", *lines, "", catalogue_table(forms)]
    show(as_json, facts, lines)
