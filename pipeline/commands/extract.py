"""dml extract: images to features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cache.errors import DiskFullError, UnreachableError
from cache.places.urls import is_url
from pipeline.commands._options import (
    DeviceOption,
    JsonOption,
)
from pipeline.output.terminal import show, stage
from pipeline.runs import workspace

Engine = Literal["local", "ray"]
Exif = Literal["ignore", "rotate"]
Truncated = Literal["skip", "use"]
Unreadable = Literal["skip", "stop"]
Dtype = Literal["float16", "float32", "bfloat16", "int8"]


def extract(
    data: Annotated[
        str | None,
        typer.Argument(
            help="A folder of class folders, or a CSV or Parquet file with the columns path and "
            "label (optional: id, split, superlabel, true_label); also at a URL. Default: the demo "
            "set."
        ),
    ] = None,
    store: Annotated[
        str, typer.Option(metavar="PATH", help="Where the features go, also a URL.")
    ] = str(workspace.STORE),
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
    pool: Annotated[
        str | None,
        typer.Option(
            help="avg, max, avg+max, cls, own; of a distilled DeiT also dist and cls-only (each of "
            "its two tokens alone). Several in one pass: avg,max. Default: the backbone's own."
        ),
    ] = None,
    views: Annotated[
        int,
        typer.Option(
            help="Further features of each image: randomly cropped, maybe mirrored. dml train "
            "--features avg@mean takes their mean."
        ),
    ] = 0,
    view_seed: Annotated[
        int, typer.Option(help="Other crops; each depends on it, the id and its number alone.")
    ] = 0,
    view_scale: Annotated[
        tuple[float, float], typer.Option(help="Least and largest share of the area in a crop.")
    ] = (0.2, 1.0),
    dtype: Annotated[
        Dtype,
        typer.Option(help="Number format in the store; bfloat16 and int8 are read as float32."),
    ] = "float16",
    chunk_rows: Annotated[
        int | None,
        typer.Option(
            help="Rows in each file of a new store. Default: 512 to 4096, by their number."
        ),
    ] = None,
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="The images have changed: add new and changed ones to the store, take out those "
            "that are not there any more.",
        ),
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Check what is finished, make damaged chunks anew.")
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Images in the network at a time. Default: 64; on a CPU 8, for each core."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Decoding threads; of Ray the workers, each on one core or one GPU. Default: one "
            "for each core (GPU)."
        ),
    ] = None,
    device: DeviceOption = "auto",
    engine: Annotated[
        Engine, typer.Option(help="Where it runs: in this process, or on a Ray cluster.")
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="auto, or HOST:PORT of the cluster's head. Default: Ray is started on this "
            "machine, and ended.",
        ),
    ] = None,
    unreadable: Annotated[
        Unreadable, typer.Option(help="List such images and skip them, or stop at the first.")
    ] = "skip",
    truncated: Annotated[
        Truncated,
        typer.Option(help="Images whose end is missing: skip them, or use what is there."),
    ] = "skip",
    exif: Annotated[
        Exif,
        typer.Option(help="Ignore the camera's orientation as torchvision does, or rotate by it."),
    ] = "ignore",
    max_pixels: Annotated[
        int | None, typer.Option(help="Images with more are unreadable. Default: 89478485.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a frozen backbone over all images and store the features.

    Running it again continues where it was interrupted, or says that the store is complete.

    Examples:

    [bold]dml extract[/]

    [bold]dml extract photos/[/]

    [bold]dml extract photos/ --update[/]

    [bold]dml extract photos.csv --backbone timm:deit_small_patch16_224[/]

    [bold]dml extract s3://bucket/photos --store s3://bucket/features.zarr[/]

    [bold]dml extract /nfs/photos --store /nfs/features.zarr --engine ray --ray-address auto[/]
    """
    from dataclasses import replace

    from pipeline.backbones import load_backbone
    from pipeline.backbones._pooling import split_pools
    from pipeline.datasets import load_manifest
    from pipeline.extract import extract as run
    from pipeline.extraction.cluster.crew import ClusterError
    from pipeline.extraction.embed import UnreadableFileError
    from pipeline.extraction.machines import check_engine
    from pipeline.extraction.pictures.decoding import Reading
    from pipeline.extraction.pictures.views import Augmentation
    from pipeline.output.extraction_lines import extract_json, extract_lines

    split_pools(pool)  # before anything is listed or loaded
    check_engine(engine, ray_address)
    augmentation = Augmentation(views=views, seed=view_seed, scale=view_scale)
    reading = Reading(exif=exif, truncated=truncated, max_pixels=max_pixels)
    manifest = load_manifest(data)
    name = backbone or ("efficientnet_lite0" if data is None else "resnet50")
    network = load_backbone(name, weights=weights, pool=pool)
    network = replace(network, transform=replace(network.transform, reading=reading))
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
                engine=engine,
                ray_address=ray_address,
                augmentation=augmentation,
                unreadable=unreadable,
                chunk_rows=chunk_rows,
                update=update,
                repair=repair,
                progress=progress,
            )
        except (
            KeyboardInterrupt,
            ClusterError,
            DiskFullError,
            UnreachableError,
            UnreadableFileError,
        ):
            if is_url(store) or Path(store).exists():
                workspace.point("store", store)  # it holds what was finished
            raise
    workspace.point("store", report.store)
    show(as_json, extract_json(report), extract_lines(report))
