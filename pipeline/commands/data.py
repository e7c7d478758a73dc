"""dml data: the official files of a known data set to a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands._options import (
    JsonOption,
)
from pipeline.output.terminal import show, stage


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
