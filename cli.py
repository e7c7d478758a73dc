"""The command line: each command turns its arguments into one call and the result into text.

Results go to standard output, progress and notes to standard error. `--json` prints one JSON value
and nothing else. A bad argument or bad data is one line and exit code 2, an interruption 130, a
fault of this program 1; `--debug` shows where it was raised. Heavy libraries are imported inside
the commands, so that help and errors come at once.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cache.errors import DiskFullError, InputError
from pipeline.choices import catalogue
from pipeline.choices.values import parse_recall
from pipeline.output.faults import INTERRUPTED, explain
from pipeline.output.terminal import note, show, stage
from pipeline.runs import workspace

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Retrieval embeddings from images with unreliable labels.\n\n"
    "Stage one, [bold]extract[/], runs a frozen backbone once over all images. Stage two, "
    "[bold]train[/], learns an embedding on the stored features in seconds; [bold]eval[/] "
    "compares it with the untrained features. Start with [bold]dml demo[/].",
)


Pool = Literal["avg", "max", "avg+max", "cls"]
Dtype = Literal["float16", "float32"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Protocol = Literal["query-gallery", "class-disjoint"]
Listed = Literal["losses", "selections", "backbones", "noise"]
DeviceOption = Annotated[Device, typer.Option(help="auto takes cuda, else mps, else cpu.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")]
ProtocolOption = Annotated[
    Protocol | None,
    typer.Option(
        help="query-gallery (test rows search the training rows) or class-disjoint (half of the "
        "classes trains, the others search among themselves). Default: what the splits suggest."
    ),
]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Hold the options of every command; `main` reads them."""


@app.command()
def extract(
    data: Annotated[
        Path | None,
        typer.Argument(
            help="A folder of class folders, or a CSV or Parquet file with the columns path and "
            "label (optional: id, split, superlabel, true_label). Default: the demo set."
        ),
    ] = None,
    store: Annotated[Path, typer.Option(help="Where the features go.")] = workspace.STORE,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="resnet50, efficientnet_lite0, timm:NAME or torchvision:NAME; default resnet50, "
            "for the demo set efficientnet_lite0, which needs no download."
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights file (.safetensors, .pth) for the backbone.")
    ] = None,
    pool: Annotated[Pool | None, typer.Option(help="Default: the backbone's own.")] = None,
    dtype: Annotated[Dtype, typer.Option(help="Number format in the store.")] = "float16",
    batch_size: Annotated[int, typer.Option(help="Images in the network at a time.")] = 64,
    workers: Annotated[
        int | None, typer.Option(help="Decoding threads. Default: one for each core.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Run a frozen backbone over all images and store the features.

    Running it again continues where it was interrupted, or says that the store is complete.

    Examples:

    [bold]dml extract[/]

    [bold]dml extract photos/[/]

    [bold]dml extract photos.csv --backbone timm:deit_small_patch16_224[/]
    """
    from pipeline.backbones import load_backbone
    from pipeline.datasets import load_manifest
    from pipeline.extract import extract as run
    from pipeline.output.present import extract_json, extract_lines

    manifest = load_manifest(data)
    name = backbone or ("efficientnet_lite0" if data is None else "resnet50")
    network = load_backbone(name, weights=weights, pool=pool)
    with stage(f"extracting features ({name})") as progress:
        try:
            report = run(
                manifest,
                store,
                network,
                dtype=dtype,
                batch_size=batch_size,
                workers=workers,
                device=device,
                progress=progress,
            )
        except (KeyboardInterrupt, DiskFullError):
            if store.exists():
                workspace.point("store", store)  # it holds what was finished
            raise
    workspace.point("store", report.store)
    show(as_json, extract_json(report), extract_lines(report))


@app.command()
def train(
    store: Annotated[
        Path | None, typer.Option(help="The feature store. Default: the latest.")
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="A recipe or a loss: see dml list losses. Default: prism.")
    ] = None,
    select: Annotated[
        str | None, typer.Option(help="Which rows count: see dml list selections.")
    ] = None,
    noise: Annotated[
        str | None, typer.Option(help="Make labels wrong on purpose, for example symmetric:0.5.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="key=value: loss.margin=0.2, select.noise_rate=0.3, lr=1e-3, ..."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training rows.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows in each step.")] = None,
    dim: Annotated[int | None, typer.Option(help="Embedding dimension.")] = None,
    protocol: ProtocolOption = None,
    seed: Annotated[int | None, typer.Option(help="Of start, batches and noise.")] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of the new run. Default: dml-out/runs/LOSS.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings of an earlier run: its folder or config.json.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Train an embedding on the stored features.

    Examples:

    [bold]dml train[/]

    [bold]dml train --loss proxy-anchor --set loss.margin=0.2[/]

    [bold]dml train --loss prism --noise symmetric:0.5 --seed 1[/]

    [bold]dml train --config dml-out/runs/prism[/]
    """
    from pipeline.choices.settings import Settings

    given = {
        "loss": loss,
        "selection": select,
        "noise": noise,
        "epochs": epochs,
        "batch_size": batch_size,
        "dim": dim,
        "protocol": protocol,
        "seed": seed,
    }
    settings = Settings.load(config) if config else Settings()
    settings = settings.replaced(
        **{key: value for key, value in given.items() if value is not None}
    )
    settings = settings.with_changes(changes or []).check()

    from cache import FeatureStore

    source = store or workspace.latest("store")
    opened = FeatureStore.open(source)  # before the wait for torch
    from pipeline.output.present import train_json, train_lines
    from pipeline.runs.record import free_path
    from pipeline.train import train as learn

    path = run or free_path(workspace.RUNS, settings.loss)
    with stage(f"training {settings.loss} on {source}") as progress:
        done = learn(opened, settings, path, device=device, progress=progress)
    workspace.point("run", done.path)
    show(as_json, train_json(done), train_lines(str(done.path), done.record))


@app.command(name="eval")
def evaluate(
    run: Annotated[
        Path | None, typer.Argument(help="Folder of a run. Default: the latest.")
    ] = None,
    recall: Annotated[
        str, typer.Option(help="The K of Recall@K, separated by commas.")
    ] = "1,2,4,8",
    store: Annotated[
        Path | None, typer.Option(help="The feature store. Default: the one it was trained on.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Compare a run with the untrained features.

    Recall@K is the share of queries with at least one item of their class among the K nearest.
    R-precision and MAP@R look at as many items as the query's class has. No query finds itself.

    Examples:

    [bold]dml eval[/]

    [bold]dml eval dml-out/runs/prism --recall 1,10,100[/]
    """
    recall_at = parse_recall(recall)

    from pipeline.evaluate import evaluate_run
    from pipeline.output.present import evaluation_json, evaluation_note, evaluation_table
    from pipeline.runs.opening import open_run

    chosen, opened = open_run(run, store)
    found = evaluate_run(chosen, opened, recall_at=recall_at, device=device)
    show(as_json, evaluation_json(chosen, found), [evaluation_table(found)])
    note(f"{chosen.path}: {evaluation_note(found)}")


@app.command()
def probe(
    run: Annotated[
        Path | None, typer.Argument(help="Folder of a run. Default: the latest.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="The feature store. Default: the one it was trained on.")
    ] = None,
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


@app.command(name="list")
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

    kind: catalogue.Kind = "selection" if what == "selections" else what
    entries = catalogue.entries(kind).values()
    facts = catalogue_json(entries)
    lines: list[Any] = [catalogue_table(entries)]
    if what == "losses":
        facts = [*recipes_json(RECIPES), *facts]
        lines = [recipe_table(RECIPES), "", *lines]
    show(as_json, facts, lines)


@app.command()
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


@app.command()
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    try:
        code = app(given or ["--help"], standalone_mode=False)
        if code == INTERRUPTED:  # newer Typer turns the interruption into an exit code
            raise KeyboardInterrupt
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        code, text = explain(error)
        note(f"dml: {text}")
        return code
    return 0


def run() -> None:
    """Enter from the console script."""
    sys.exit(main())
