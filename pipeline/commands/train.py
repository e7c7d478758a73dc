"""dml train: a head on stored features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands._options import (
    DeviceOption,
    FeaturesOption,
    Head,
    JsonOption,
    LabelsOption,
    ProtocolOption,
    StoreOption,
    TransformOption,
    Validation,
    Views,
)
from pipeline.output.terminal import show, stage
from pipeline.runs import workspace


def train(
    store: StoreOption = None,
    features: FeaturesOption = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="A recipe, a loss or a closed form: see dml list losses. Default: auto, the "
            "closed form that validates best on these rows."
        ),
    ] = None,
    select: Annotated[
        str | None, typer.Option(help="Which rows count: see dml list selections.")
    ] = None,
    labels: LabelsOption = None,
    transform: TransformOption = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Where the head begins: random, pca (principal directions), or a closed form "
            "such as reliability, with proxies at the means of classes; give it a lower rate, as "
            "in --set lr=3e-4. Default: random.",
        ),
    ] = None,
    head: Annotated[
        Head | None,
        typer.Option(
            help="What is trained: a linear map, one with a branch of two layers beside it "
            "(residual), or two layers (mlp). Default: linear."
        ),
    ] = None,
    hidden: Annotated[
        int | None, typer.Option(help="Width of the hidden layer. Default: 512.")
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(help="Share of the features that a step leaves out. Default: 0."),
    ] = None,
    feature_noise: Annotated[
        float | None,
        typer.Option(
            help="Normal noise on the features in a step, in units of each one's deviation. "
            "Default: 0."
        ),
    ] = None,
    views: Annotated[
        Views | None,
        typer.Option(
            help="random: a step sees the picture or one of its views (dml extract --views), drawn "
            "anew each time; all else sees --features. Default: those alone."
        ),
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
    budget: Annotated[
        float | None,
        typer.Option(help="Seconds that --loss auto may take to choose. Default: 30."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings of an earlier run: its folder or config.json.")
    ] = None,
    device: DeviceOption = "auto",
    memory: Annotated[
        str | None,
        typer.Option(
            help="What the features may take on the device: 8GB. Beyond it they are read from the "
            "disk while the run trains. Default: most of what is free."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train an embedding on the stored features.

    Examples:

    [bold]dml train[/]

    [bold]dml train --loss proxy-anchor --set loss.margin=0.2[/]

    [bold]dml train --loss prism --noise symmetric:0.5 --seed 1[/]

    [bold]dml train --labels dml-out/labels/v1.parquet[/]

    [bold]dml train --config dml-out/runs/prism[/]
    """
    from pipeline.choices.settings import Settings

    given = {
        "loss": loss,
        "selection": select,
        "labels": labels,
        "noise": noise,
        "transform": transform,
        "start": start,
        "head": head,
        "hidden": hidden,
        "dropout": dropout,
        "feature_noise": feature_noise,
        "views": views,
        "features": features,
        "epochs": epochs,
        "batch_size": batch_size,
        "dim": dim,
        "protocol": protocol,
        "seed": seed,
        "validation": validation,
        "budget": budget,
    }
    settings = Settings.load(config) if config else Settings()
    settings = settings.replaced(
        **{key: value for key, value in given.items() if value is not None}
    )
    settings = settings.with_changes(changes or []).check()
    settings.refuse_idle(name for name, value in given.items() if value is not None)

    from cache import FeatureStore
    from pipeline.training.budget import parse_size

    limit = None if memory is None else parse_size("--memory", memory)

    source = store or workspace.latest("store")
    opened = FeatureStore.open(source, settings.features)  # before the wait for torch
    from pipeline.output.choice_lines import choice_lines
    from pipeline.output.present import train_json, train_lines
    from pipeline.runs.record import free_path
    from pipeline.train import train as learn

    path = run or free_path(workspace.RUNS, settings.loss)
    with stage(f"training {settings.loss} on {source}") as progress:
        done = learn(opened, settings, path, device=device, memory=limit, progress=progress)
    workspace.point("run", done.path)
    lines = train_lines(str(done.path), done.record)
    if done.record["choice"]:
        lines += choice_lines(done.record["choice"])
    show(as_json, train_json(done), lines)
