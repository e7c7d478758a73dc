"""dml probe: whose pairs a loss listens to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cache.errors import InputError
from pipeline.commands._options import (
    DeviceOption,
    JsonOption,
    TrainedStoreOption,
)
from pipeline.output.terminal import note, show, stage


def probe(
    run: Annotated[
        Path | None, typer.Argument(help="Folder of a run. Default: the latest.")
    ] = None,
    store: TrainedStoreOption = None,
    points: Annotated[int, typer.Option(help="Points in time, first and last epoch included.")] = 9,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Show how much of a loss's weight falls on wrongly labelled pairs, over training.

    Trains the run once more, seed for seed, and looks at the gradient by every pair's cosine. The
    run needs labels that are known to be wrong: train it with --noise.

    Examples:

    [bold]dml probe[/]

    [bold]dml probe dml-out/runs/contrastive --points 5[/]
    """
    if points < 2:
        raise InputError(f"--points {points}: expected a whole number of at least 2")
    from pipeline.output.present import PROBE_NOTE, probe_table
    from pipeline.probe import probe as measure
    from pipeline.runs.opening import open_run

    chosen, opened = open_run(run, store)
    with stage(f"training {chosen.settings.loss} again") as progress:
        found = measure(opened, chosen.settings, points=points, device=device, progress=progress)
    facts = {"run": str(chosen.path), "moments": [asdict(moment) for moment in found]}
    show(as_json, facts, [probe_table(found)])
    note(f"{chosen.path}: {PROBE_NOTE}")
