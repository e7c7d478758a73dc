"""dml noise: wrong labels as files, and how many there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.commands._options import (
    JsonOption,
    ProtocolOption,
    StoreOption,
)
from pipeline.output.terminal import note, show, stage
from pipeline.runs import workspace

Numbering = Literal["auto", "names", "overlap", "zero", "one"]
Join = Literal["suffix", "name"]
NoiseSeedOption = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the noise.")]
OutOption = Annotated[
    Path | None, typer.Option(help="The new overlay. Default: dml-out/noise/NOISE-seedN.parquet.")
]
OverlayArgument = Annotated[Path, typer.Argument(help="A label overlay.")]


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
    from pipeline.labels.corruption import NoiseSpec

    NoiseSpec.parse(spec)  # before the wait for the store

    from cache import FeatureStore
    from pipeline.labels.overlays import default_path, describe, make_overlay
    from pipeline.noise._overlay import refuse_existing, write_overlay
    from pipeline.output.noise_lines import overlay_lines

    path = out or default_path(spec, seed)
    refuse_existing(path)
    opened = FeatureStore.open(store or workspace.latest("store"))
    overlay = make_overlay(opened, spec, seed=seed, protocol=protocol)
    write_overlay(path, overlay)
    facts = {"overlay": str(path), **describe(overlay)}
    show(as_json, facts, overlay_lines(str(path), facts))


def describe_noise(overlay: OverlayArgument, as_json: JsonOption = False) -> None:
    """Show what an overlay is and which labels it changes.

    Examples:

    [bold]dml noise describe dml-out/noise/symmetric-0.5-seed1.parquet[/]
    """
    from pipeline.labels.overlays import describe
    from pipeline.noise._overlay import read_overlay
    from pipeline.output.noise_lines import overlay_lines

    facts = {"overlay": str(overlay), **describe(read_overlay(overlay))}
    show(as_json, facts, overlay_lines(str(overlay), facts))


def export_noise(
    overlay: OverlayArgument,
    to: Annotated[Path, typer.Option(help="The new list.")],
    as_json: JsonOption = False,
) -> None:
    """Write an overlay as a list of lines path,label, which other programs read.

    Examples:

    [bold]dml noise export mine.parquet --to list.csv[/]
    """
    from pipeline.labels.overlays import export_list
    from pipeline.noise._overlay import read_overlay

    found = read_overlay(overlay)
    export_list(found, to)
    facts = {"list": str(to), "rows": len(found.ids), "overlay": str(overlay)}
    show(as_json, facts, [f"{to}: {len(found.ids):,} lines path,label"])


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
    from pipeline.labels.estimation import estimate
    from pipeline.output.noise_lines import ESTIMATE_NOTE, estimate_json, estimate_lines

    with stage(f"estimating noise in {opened.path}") as progress:
        found = estimate(opened, protocol=protocol, seed=seed, progress=progress)
    show(as_json, estimate_json(found), estimate_lines(str(opened.path), found))
    note(ESTIMATE_NOTE)
