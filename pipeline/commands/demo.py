"""dml demo: the tour."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands._options import (
    DeviceOption,
    JsonOption,
)
from pipeline.output.terminal import show, stage
from pipeline.runs import workspace


def demo(
    folder: Annotated[Path, typer.Argument(help="For the demo's store and runs.")] = (
        workspace.FOLDER / "demo"
    ),
    seed: Annotated[int, typer.Option(help="Of training and noise.")] = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Take the tour: built-in pictures, 40 % wrong labels, three methods, one table.

    Takes about two minutes on two cores; nothing is downloaded. What is finished is kept, so a
    second call prints the table at once.

    Examples:

    [bold]dml demo[/]

    [bold]dml demo elsewhere --seed 1[/]
    """
    from pipeline.demo import NOISE
    from pipeline.demo import demo as tour
    from pipeline.output.present import demo_json, demo_lines

    rows = tour(folder, stage, seed=seed, device=device)
    show(as_json, demo_json(rows, NOISE), demo_lines(rows, NOISE))
