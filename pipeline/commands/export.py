"""dml export: a run as a model file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.commands._options import (
    JsonOption,
    TrainedStoreOption,
)
from pipeline.output.command import typed
from pipeline.output.terminal import show, stage
from pipeline.runs import workspace

Format = Literal["onnx", "torchscript", "safetensors"]
Epoch = Literal["last", "selected"]


def export(
    context: typer.Context,
    run: Annotated[
        Path | None, typer.Argument(help="Folder of a run. Default: the latest.")
    ] = None,
    format: Annotated[
        Format,
        typer.Option(
            help="onnx and torchscript are programs, safetensors the head's weights. ONNX needs "
            "pip install 'dml\\[onnx]'."
        ),
    ] = "onnx",
    with_backbone: Annotated[
        bool,
        typer.Option(
            "--with-backbone",
            help="One file from pictures, resized and cropped, to embeddings. Default: from "
            "features to embeddings.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A new folder, or a model file, beside which the card is put. Default: "
            "dml-out/export/RUN-FORMAT."
        ),
    ] = None,
    epoch: Annotated[
        Epoch, typer.Option(help="Weights of the last epoch, or of the one validation selected.")
    ] = "last",
    weights: Annotated[
        Path | None, typer.Option(help="Weights file of the backbone, as dml extract had it.")
    ] = None,
    figures: Annotated[
        bool, typer.Option(help="Measure the run for the model card, as dml eval does.")
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier export at that place.")
    ] = False,
    store: TrainedStoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run as a model file with a model card; nothing of dml is needed to use it.

    Before it is written the file is compared with the run: on stored features, or on images of the
    store, cosine at least 0.9999. README.md has a program that uses it, card.json all facts.

    Examples:

    [bold]dml export[/]

    [bold]dml export dml-out/runs/prism --with-backbone[/]

    [bold]dml export --format torchscript --epoch selected --out model.pt[/]
    """
    from pipeline.export import export as write
    from pipeline.output.export_lines import export_json, export_lines
    from pipeline.runs.opening import open_run

    chosen, opened = open_run(run, store)
    kind = f"{format}-with-backbone" if with_backbone else format
    with stage(f"exporting {chosen.path}") as progress:
        done = write(
            chosen,
            opened,
            out or workspace.FOLDER / "export" / f"{chosen.path.absolute().name}-{kind}",
            format=format,
            with_backbone=with_backbone,
            epoch=epoch,
            weights=weights,
            figures=figures,
            force=force,
            command=typed(context),
            progress=progress,
        )
    show(as_json, export_json(done), export_lines(done))
