"""dml extract: images to features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cache.errors import DiskFullError
from pipeline.commands._options import (
    DeviceOption,
    JsonOption,
)
from pipeline.output.terminal import show, stage
from pipeline.runs import workspace

Pool = Literal["avg", "max", "avg+max", "cls"]
Dtype = Literal["float16", "float32"]


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
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Images in the network at a time. Default: 64; on a CPU 8, for each core."
        ),
    ] = None,
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
