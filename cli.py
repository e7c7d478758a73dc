"""The command line: each command turns its arguments into one call and the result into text.

Results go to standard output, progress and notes to standard error. `--json` prints one JSON value
and nothing else. A bad argument or bad data is one line and exit code 2, an interruption 130, a
fault of this program or a failed cell of an ablation 1; `--debug` shows where an error was raised.
Heavy libraries are imported inside the commands, so that help and errors come at once.
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
from pipeline.choices.values import parse_ranks
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
Validation = Literal["classes", "rows", "split"]
By = Literal["class", "superlabel"]
Numbering = Literal["auto", "names", "overlap", "zero", "one"]
Join = Literal["suffix", "name"]
Layout = Literal["text", "markdown", "latex"]
Listed = Literal["losses", "selections", "backbones", "noise", "datasets"]
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
def data(
    name: Annotated[str, typer.Argument(help="A data set: see dml list datasets.")],
    root: Annotated[
        Path, typer.Option(help="The folder of its official files, or a zip or tar of them.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Where the table goes, .csv or .parquet. Default: NAME.csv here."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value: an option of the data set, as partition=mini."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse data whose counts are not as published.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing table.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a published data set into a table that dml extract takes.

    Reads the official files, also inside of zip, plain tar and Parquet files, checks the counts
    and writes the columns id, path, label, split and what else is known. Nothing is unpacked,
    copied or downloaded.

    Examples:

    [bold]dml data cub --root CUB_200_2011/[/]

    [bold]dml data webvision --root webvision/ --set partition=mini --strict[/]

    [bold]dml data cifar10 --root data/ --set labels=worse --out cifar10-worse.parquet[/]
    """
    from pipeline.datasets.reading import read_data_set
    from pipeline.datasets.saving import check_place, save_manifest
    from pipeline.output.data_sets import data_json, data_lines, refuse_mismatches

    file = out or Path(f"{name}.csv")
    check_place(file, is_forced=force)
    with stage(f"reading {name} in {root}"):
        found = read_data_set(name, root, changes or [])
    if strict:
        refuse_mismatches(found)
    save_manifest(found.manifest, file, extra=found.extra, is_forced=force)
    show(as_json, data_json(found, file), data_lines(found, file))


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
        str | None,
        typer.Option(help="Make labels wrong on purpose: see dml list noise and dml noise make."),
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
    validation: Annotated[
        Validation | None,
        typer.Option(
            help="Hold out training rows to find the best epoch: every 5th class, every 5th row, "
            "or the split val."
        ),
    ] = None,
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
        "validation": validation,
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
    store: Annotated[
        Path | None, typer.Option(help="The feature store. Default: the one it was trained on.")
    ] = None,
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


@app.command()
def ablate(
    context: typer.Context,
    loss: Annotated[
        str, typer.Option(help="Losses, recipes or LOSS+SELECTION, separated by commas.")
    ] = "proxy-anchor,smooth-proxy-anchor,prism",
    select: Annotated[
        str | None, typer.Option(help="Selections; each is combined with every loss.")
    ] = None,
    noise: Annotated[
        str, typer.Option(help="Noise specs: see dml list noise; 0 = labels as given.")
    ] = "0,symmetric:0.2,symmetric:0.5",
    seeds: Annotated[int, typer.Option(help="Runs of each cell, with the seeds 0, 1, ...")] = 5,
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
    store: Annotated[
        Path | None, typer.Option(help="The feature store. Default: the latest.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the results and the finished cells.")
    ] = workspace.ABLATION,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Compare methods under label noise, over seeds, with intervals and paired differences.

    Each method, noise and combination of --set values is a cell, whose seeds train together. A
    finished cell is kept in the folder and never trained again: after an interruption the same
    command goes on, and more seeds or losses train only what is new. results.parquet and
    results.csv hold every run of the last command; dml table prints them again.

    Examples:

    [bold]dml ablate --loss contrastive,prism --noise 0,symmetric:0.5 --seeds 5[/]

    [bold]dml ablate --loss proxy-anchor --select none,prism,confidence --baseline untrained[/]

    [bold]dml ablate --loss proxy-anchor --set loss.margin=0.1,0.2 --validation classes[/]
    """
    from pipeline.choices.grid import plan, refuse_unknown_baseline
    from pipeline.choices.settings import Settings

    given = {"epochs": epochs, "batch_size": batch_size, "dim": dim, "validation": validation}
    common = Settings(**{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]
    cells = plan(
        common, loss=loss, select=select, noise=noise, protocol=protocol, changes=changes or []
    )
    refuse_unknown_baseline(baseline, [cell.method for cell in cells])
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: expected a whole number of at least 1")
    recall_at = parse_ranks("--recall", recall)

    from cache import FeatureStore

    source = store or workspace.latest("store")
    opened = FeatureStore.open(source)  # before the wait for torch
    from pipeline.ablate import ablate as run
    from pipeline.output.ablation_lines import ablation_json, ablation_lines, failure_line
    from pipeline.output.command import typed
    from pipeline.summary import summarise

    with stage(f"training {len(cells)} cells on {source}") as progress:
        found = run(
            opened,
            cells,
            out,
            seeds=seeds,
            recall_at=recall_at,
            device=device,
            command=typed(context),
            progress=progress,
        )
    summary = summarise(found.rows, baseline=baseline)
    show(as_json, ablation_json(summary), ablation_lines(summary))
    note(f"{out}: {found.trained} runs trained, {found.reused} were there already")
    if found.failures:
        note(f"dml: {failure_line(found.failures, len(cells))}")
        raise typer.Exit(1)


@app.command()
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
    from pipeline.output.ablation_lines import ablation_json, ablation_lines
    from pipeline.runs.results import read_results
    from pipeline.summary import summarise

    summary = summarise(read_results(folder), metric=metric, baseline=baseline)
    show(as_json, ablation_json(summary), ablation_lines(summary, layout))


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


noise_app = typer.Typer(
    help="Make wrong labels as files that can be shared, read published lists, estimate noise.\n\n"
    "A label overlay is a Parquet file with a label for each training row of one manifest; it "
    "changes no store. Train with it: [bold]dml train --noise file:OVERLAY[/].",
)
app.add_typer(noise_app, name="noise")
NoiseSeedOption = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the noise.")]
StoreOption = Annotated[Path | None, typer.Option(help="The feature store. Default: the latest.")]
OutOption = Annotated[
    Path | None, typer.Option(help="The new overlay. Default: dml-out/noise/NOISE-seedN.parquet.")
]
OverlayArgument = Annotated[Path, typer.Argument(help="A label overlay.")]


@noise_app.command(name="make")
def make_noise(
    spec: Annotated[
        str, typer.Argument(help="A noise: see dml list noise. For example small-cluster:0.25.")
    ],
    store: StoreOption = None,
    protocol: ProtocolOption = None,
    seed: NoiseSeedOption = 0,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make labels wrong on purpose and write them as an overlay.

    Training with the overlay is training with the noise and its seed.

    Examples:

    [bold]dml noise make symmetric:0.5 --seed 1[/]

    [bold]dml noise make confusion:matrix.csv --out mine.parquet[/]
    """
    from pipeline.corruption import NoiseSpec

    NoiseSpec.parse(spec)  # before the wait for the store

    from cache import FeatureStore
    from pipeline.noise._overlay import refuse_existing, write_overlay
    from pipeline.output.noise_lines import overlay_lines
    from pipeline.overlays import default_path, describe, make_overlay

    path = out or default_path(spec, seed)
    refuse_existing(path)
    opened = FeatureStore.open(store or workspace.latest("store"))
    overlay = make_overlay(opened, spec, seed=seed, protocol=protocol)
    write_overlay(path, overlay)
    facts = {"overlay": str(path), **describe(overlay)}
    show(as_json, facts, overlay_lines(str(path), facts))


@noise_app.command(name="describe")
def describe_noise(overlay: OverlayArgument, as_json: JsonOption = False) -> None:
    """Show what an overlay is and which labels it changes.

    Examples:

    [bold]dml noise describe dml-out/noise/symmetric-0.5-seed1.parquet[/]
    """
    from pipeline.noise._overlay import read_overlay
    from pipeline.output.noise_lines import overlay_lines
    from pipeline.overlays import describe

    facts = {"overlay": str(overlay), **describe(read_overlay(overlay))}
    show(as_json, facts, overlay_lines(str(overlay), facts))


@noise_app.command(name="export")
def export_noise(
    overlay: OverlayArgument,
    to: Annotated[Path, typer.Option(help="The new list.")],
    as_json: JsonOption = False,
) -> None:
    """Write an overlay as a list of lines path,label, which other programs read.

    Examples:

    [bold]dml noise export mine.parquet --to list.csv[/]
    """
    from pipeline.noise._overlay import read_overlay
    from pipeline.overlays import export_list

    found = read_overlay(overlay)
    export_list(found, to)
    facts = {"list": str(to), "rows": len(found.ids), "overlay": str(overlay)}
    show(as_json, facts, [f"{to}: {len(found.ids):,} lines path,label"])


@noise_app.command(name="import")
def import_noise(
    labels: Annotated[
        Path,
        typer.Argument(
            help="A list of lines path,label, a table with id and label, or a .npy or .pt file."
        ),
    ],
    store: StoreOption = None,
    protocol: ProtocolOption = None,
    numbering: Annotated[
        Numbering,
        typer.Option(
            help="What the labels are: class names, numbers from zero or from one in the order of "
            "the class names, or numbers matched to classes by the overlap of their rows."
        ),
    ] = "auto",
    join: Annotated[
        Join,
        typer.Option(help="Which paths are equal: one ends with the other, or file names alone."),
    ] = "suffix",
    cleaned: Annotated[
        Path | None, typer.Option(help="The list of those rows whose label was left right.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Which array of a .npy or .pt file, such as worse_label.")
    ] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn a published list into an overlay of a store.

    Lists are joined by path or id, never by the order of their lines; prefixes such as /data may
    differ. Arrays go by the order of the training rows.

    Examples:

    [bold]dml noise import CUB_0.2noised_train.csv --store cub.zarr[/]

    [bold]dml noise import CIFAR-10_human.pt --key worse_label --store cifar10.zarr[/]
    """
    given = {"numbering": numbering, "join": join, "cleaned": cleaned, "key": key}
    usual = {"numbering": "auto", "join": "suffix"}
    words = [
        f"{name}={each}" for name, each in given.items() if each not in (None, usual.get(name))
    ]
    spec = ",".join([f"file:{labels}", *words])
    make_noise(spec, store, protocol, 0, out, as_json)


@noise_app.command(name="estimate")
def estimate_noise(
    store: StoreOption = None,
    protocol: ProtocolOption = None,
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**32 - 1, help="Of the noise injected to check the estimate."),
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Estimate from the features how many labels are wrong and which classes are mixed up.

    Known noise is injected on top and estimated too, so the error of the estimate is seen. The rate
    assumes symmetric noise: mistakes among alike classes are underestimated.

    Examples:

    [bold]dml noise estimate[/]

    [bold]dml noise estimate --store photos.zarr --json[/]
    """
    from cache import FeatureStore

    opened = FeatureStore.open(store or workspace.latest("store"))
    from pipeline.estimation import estimate
    from pipeline.output.noise_lines import ESTIMATE_NOTE, estimate_json, estimate_lines

    with stage(f"estimating noise in {opened.path}") as progress:
        found = estimate(opened, protocol=protocol, seed=seed, progress=progress)
    show(as_json, estimate_json(found), estimate_lines(str(opened.path), found))
    note(ESTIMATE_NOTE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    try:
        is_bare = given in ([], ["noise"])  # a group of commands by itself
        code = app([*given, "--help"] if is_bare else given, standalone_mode=False)
        if code == INTERRUPTED:  # newer Typer turns the interruption into an exit code
            raise KeyboardInterrupt
        return int(code or 0)
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        code, text = explain(error)
        note(f"dml: {text}")
        return code


def run() -> None:
    """Enter from the console script."""
    sys.exit(main())
