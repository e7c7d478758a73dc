"""dml ablate and dml table: methods compared over noise and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cache.errors import InputError
from pipeline.choices.values import parse_ranks
from pipeline.commands._options import (
    DeviceOption,
    FeaturesOption,
    JsonOption,
    LabelsOption,
    StoreOption,
    Validation,
)
from pipeline.output.terminal import note, show, stage
from pipeline.runs import workspace

Layout = Literal["text", "markdown", "latex"]
Way = Literal["alone", "together", "compiled"]


def ablate(
    context: typer.Context,
    loss: Annotated[
        str, typer.Option(help="Losses, recipes or LOSS+SELECTION, separated by commas.")
    ] = "proxy-anchor,smooth-proxy-anchor,prism",
    select: Annotated[
        str | None, typer.Option(help="Selections; each is combined with every loss.")
    ] = None,
    labels: LabelsOption = None,
    noise: Annotated[
        str, typer.Option(help="Noise specs: see dml list noise; 0 = labels as given.")
    ] = "0,symmetric:0.2,symmetric:0.5",
    seeds: Annotated[int, typer.Option(help="Runs of each cell, with the seeds 0, 1, ...")] = 5,
    transform: Annotated[
        str | None,
        typer.Option(
            metavar="STEPS",
            help="Transforms of the features, separated by commas like their steps: "
            "centre,power:0.5,centre,whiten:0.2 are two. See dml train. Default: the recipe's.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="key=value,value,...: loss.margin=0.1,0.2; several of them are multiplied. A "
            "value cannot hold a comma.",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training rows.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows in each step.")] = None,
    dim: Annotated[int | None, typer.Option(help="Embedding dimension.")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="query-gallery, class-disjoint, or both. Default: as train.")
    ] = None,
    validation: Annotated[
        Validation | None,
        typer.Option(help="Hold out training rows to choose the epoch and the --set values."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="What the others are compared with. Default: the first.")
    ] = None,
    recall: Annotated[
        str, typer.Option(help="The K of Recall@K, separated by commas.")
    ] = "1,2,4,8",
    store: StoreOption = None,
    features: FeaturesOption = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the results and the finished cells.")
    ] = workspace.ABLATION,
    device: DeviceOption = "auto",
    memory: Annotated[
        str | None,
        typer.Option(help="What the runs that train at once may take: 8GB. Default: most of it."),
    ] = None,
    way: Annotated[
        Way | None,
        typer.Option(
            help="How steps are taken: each run alone, stacked runs together, or together and "
            "compiled. Default: alone on a CPU, else together."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare methods under label noise, over seeds, with intervals and paired differences.

    Each method, noise and combination of --set values is a cell. All seeds and noises of a method
    and all values of a rate or of a fractional option train together, as one program. A finished
    run is kept in the folder and never trained again: after an interruption the same command goes
    on, and more seeds or losses train only what is new. results.parquet and
    results.csv hold every run of the last command; dml table prints them again.

    Examples:

    [bold]dml ablate --loss contrastive,prism --noise 0,symmetric:0.5 --seeds 5[/]

    [bold]dml ablate --loss proxy-anchor --select none,prism,confidence --baseline untrained[/]

    [bold]dml ablate --loss proxy-anchor --set loss.margin=0.1,0.2 --validation classes[/]
    """
    from pipeline.choices.grid import plan, refuse_unknown_baseline
    from pipeline.choices.settings import Settings

    given = {
        "labels": labels,
        "features": features,
        "epochs": epochs,
        "batch_size": batch_size,
        "dim": dim,
        "validation": validation,
    }
    common = Settings(**{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]
    grid = [*(changes or []), *([f"transform={transform}"] if transform else [])]
    cells = plan(common, loss=loss, select=select, noise=noise, protocol=protocol, changes=grid)
    refuse_unknown_baseline(baseline, [cell.method for cell in cells])
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: expected a whole number of at least 1")
    recall_at = parse_ranks("--recall", recall)

    from pipeline.training.budget import parse_size

    budget = parse_size("--memory", memory) if memory else None
    from cache import FeatureStore

    source = store or workspace.latest("store")
    opened = FeatureStore.open(source, features)  # before the wait for torch
    from pipeline.ablate import ablate as run
    from pipeline.ablation.summary import summarise
    from pipeline.output.ablation_lines import ablation_json, ablation_lines, failure_line
    from pipeline.output.command import typed

    with stage(f"training {len(cells)} cells on {source}") as progress:
        found = run(
            opened,
            cells,
            out,
            seeds=seeds,
            recall_at=recall_at,
            device=device,
            memory=budget,
            way=way,
            command=typed(context),
            progress=progress,
        )
    summary = summarise(found.rows, baseline=baseline)
    show(as_json, ablation_json(summary), ablation_lines(summary))
    note(f"{out}: {found.trained} runs trained, {found.reused} were there already")
    if found.failures:
        note(f"dml: {failure_line(found.failures, len(cells))}")
        raise typer.Exit(1)


def table(
    folder: Annotated[Path, typer.Argument(help="The folder of dml ablate.")] = workspace.ABLATION,
    layout: Annotated[Layout, typer.Option("--format", help="How to lay it out.")] = "text",
    metric: Annotated[
        str | None,
        typer.Option(
            help="recall@1, r_precision, map@r, ...; selected_recall@1 is the same at the "
            "epoch that validation prefers. Default: Recall@K with the smallest K."
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="What the others are compared with. Default: the first.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the results of dml ablate again: another metric, baseline or format.

    Examples:

    [bold]dml table[/]

    [bold]dml table dml-out/ablation --format markdown --metric map@r[/]

    [bold]dml table --format latex --baseline untrained[/]
    """
    from pipeline.ablation.summary import summarise
    from pipeline.output.ablation_lines import ablation_json, ablation_lines
    from pipeline.runs.results import read_results

    summary = summarise(read_results(folder), metric=metric, baseline=baseline)
    show(as_json, ablation_json(summary), ablation_lines(summary, layout))
