"""dml eval: a run beside the untrained features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.choices.values import parse_ranks
from pipeline.commands._options import (
    DeviceOption,
    JsonOption,
    TrainedStoreOption,
)
from pipeline.output.terminal import note, show

By = Literal["class", "superlabel"]


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(help="Folder of a run. Default: the latest.")
    ] = None,
    recall: Annotated[
        str, typer.Option(help="The K of Recall@K, separated by commas.")
    ] = "1,2,4,8",
    map_at: Annotated[
        str | None, typer.Option(help="Also MAP@K for these K, for example 10,100.")
    ] = None,
    by: Annotated[
        By | None,
        typer.Option(help="Also each class or superlabel on its own, the worst by MAP@R first."),
    ] = None,
    clustering: Annotated[
        bool,
        typer.Option(
            "--clustering",
            help="Also NMI and AMI of a k-means clustering with as many clusters as classes; slow "
            "with thousands of classes.",
        ),
    ] = False,
    store: TrainedStoreOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Compare a run with the untrained features.

    Recall@K is the share of queries with at least one item of their class
    among the K nearest. Any of the top K is enough: it is not the share of a
    class that was found.

    R is the number of items of a query's class that there are to be found.
    R-precision is the share of right items among the R nearest. MAP@R sums the
    precision at each right rank up to R and divides by R. MAP@K goes up to K
    and divides by the smaller of K and R.

    No query finds itself; equal cosines rank by row number. Queries without an
    item of their class to find are left out and counted. A K above the number
    of items means all of them.

    Examples:

    [bold]dml eval[/]

    [bold]dml eval dml-out/runs/prism --recall 1,10,100 --map-at 10[/]

    [bold]dml eval --by class[/]
    """
    recall_at = parse_ranks("--recall", recall)
    precision_at = parse_ranks("--map-at", map_at) if map_at is not None else ()

    from pipeline.evaluate import evaluate_run
    from pipeline.output.evaluation_lines import evaluation_json, evaluation_lines, evaluation_note
    from pipeline.runs.opening import open_run

    chosen, opened = open_run(run, store)
    found = evaluate_run(
        chosen,
        opened,
        recall_at=recall_at,
        map_at=precision_at,
        by=by,
        clustering=clustering,
        device=device,
    )
    show(as_json, evaluation_json(chosen, found), evaluation_lines(found))
    note(f"{chosen.path}: {evaluation_note(found)}")
