"""dml info: the facts of a store or a run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands._options import (
    JsonOption,
)
from pipeline.output.terminal import show
from pipeline.runs import workspace


def info(
    path: Annotated[
        Path | None,
        typer.Argument(help="A feature store or the folder of a run. Default: the latest store."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the facts of a feature store or of a run.

    Examples:

    [bold]dml info[/]

    [bold]dml info dml-out/runs/prism --json[/]
    """
    from cache import FeatureStore
    from pipeline.output.present import facts_table
    from pipeline.runs.record import Run, is_run

    chosen = path or workspace.latest("store")
    if is_run(chosen):
        run = Run.open(chosen)
        facts: dict[str, Any] = {"run": str(chosen), "settings": asdict(run.settings), **run.record}
    else:
        facts = FeatureStore.open(chosen).describe()
    show(as_json, facts, [facts_table(facts)])
