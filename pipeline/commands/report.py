"""dml report: runs and ablations as one page with figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.choices.values import parse_ranks
from pipeline.commands._options import DeviceOption, JsonOption, TrainedStoreOption
from pipeline.output.terminal import show, stage
from pipeline.runs import workspace


def report(
    context: typer.Context,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of runs and of ablations. Default: the latest run."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The page; its figures come into a folder beside it.")
    ] = workspace.FOLDER / "report.html",
    recall: Annotated[
        str,
        typer.Option(help="The K of Recall@K of the runs, separated by commas."),
    ] = "1,2,4,8,16,32",
    metric: Annotated[
        str | None,
        typer.Option(help="Of the table and the noise curves: recall@1, map@r, ... as dml table."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="What the others are compared with. Default: the first.")
    ] = None,
    probe: Annotated[
        bool | None,
        typer.Option(
            "--probe/--no-probe",
            help="Train runs again to see whose pairs they listen to. Default: if it took less "
            "than a minute.",
        ),
    ] = None,
    store: TrainedStoreOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Write a page on runs and ablations: tables with intervals, curves, maps, worst queries.

    The page stands for itself and can be sent, printed and read on a phone; each figure is also
    an SVG file, its numbers a CSV file. All runs and ablations must be of one store; those of
    different protocols are shown apart. Of each method one run is shown in detail, that with most
    noise, of four methods at most.

    Examples:

    [bold]dml report[/]

    [bold]dml report dml-out/ablation dml-out/runs/prism --out report.html[/]

    [bold]dml report dml-out/ablation --metric map@r --baseline untrained[/]
    """
    recall_at = parse_ranks("--recall", recall)
    from pipeline.output.command import typed
    from pipeline.output.report_page import refuse_unusable, report_json, report_lines, save_report
    from pipeline.report import report as make
    from pipeline.reporting.sources import open_sources

    refuse_unusable(out)
    sources = open_sources(runs or [workspace.latest("run")], store)
    with stage("measuring the runs") as progress:
        made = make(
            sources,
            recall_at=recall_at,
            metric=metric,
            baseline=baseline,
            with_probe=probe,
            device=device,
            progress=progress,
        )
    written = save_report(made, out, command=typed(context))
    show(as_json, report_json(made, written), report_lines(made, written))
