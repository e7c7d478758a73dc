"""dml cache: features of other programs into a store, and those of a store into files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cache.errors import InputError
from cache.places.urls import is_url
from pipeline.commands._options import JsonOption, StoreOption
from pipeline.output.terminal import show, stage
from pipeline.runs import workspace

Dtype = Literal["float16", "float32", "bfloat16", "int8"]
IdsFrom = Literal["rows"]


def import_file(
    file: Annotated[
        Path,
        typer.Argument(help="Features and labels: .npz, .npy, .h5, .parquet, .safetensors or .pt."),
    ],
    store: Annotated[str, typer.Option(help="Where the features go: a path or a URL.")],
    features_name: Annotated[
        str, typer.Option(help="Array of the features (N, F), such as group/x in HDF5.")
    ] = "features",
    ids_name: Annotated[str | None, typer.Option(help="Array of the ids. Default: ids.")] = None,
    labels_name: Annotated[
        str | None, typer.Option(help="Array of the labels. Default: labels.")
    ] = None,
    split_name: Annotated[
        str | None, typer.Option(help="Array of the splits. Default: split.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="A CSV or Parquet table with id, label and optional split, for files that lack "
            "them: joined by id if the file has ids, else in the order of its rows."
        ),
    ] = None,
    ids_from: Annotated[
        IdsFrom | None, typer.Option(help="rows: number the rows, for files without ids.")
    ] = None,
    dtype: Annotated[
        Dtype | None,
        typer.Option(help="Number format in the store. Default: the file's; float32 for float64."),
    ] = None,
    skip_nonfinite: Annotated[
        bool, typer.Option("--skip-nonfinite", help="Leave out rows with NaN or infinity.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a store of features that another program computed.

    Arrays: features (N, F), ids, labels, and where there paths, split, superlabels, true_labels,
    one cell for each row. Any further column of labels becomes a label overlay for dml train
    --noise file:OVERLAY. Running it again continues where it was interrupted.

    Examples:

    [bold]dml cache import features.npz --store features.zarr[/]

    [bold]dml cache import clip.h5 --features-name emb --ids-from rows --store clip.zarr[/]

    [bold]dml cache import features.npy --labels table.csv --store features.zarr[/]
    """
    from pipeline.conversion.columns import Names
    from pipeline.convert import import_features
    from pipeline.output.conversion_lines import import_json, import_lines

    with stage(f"importing {file}") as progress:
        report = import_features(
            file,
            store,
            overlays=_overlays(store),
            names=Names(features=features_name, ids=ids_name, labels=labels_name, split=split_name),
            labels=labels,
            ids_from_rows=ids_from == "rows",
            dtype=dtype,
            skip_nonfinite=skip_nonfinite,
            progress=progress,
        )
    workspace.point("store", report.store)
    show(as_json, import_json(report), import_lines(report))


def _overlays(store: str) -> Path:
    """Say where further labels go: into the store's folder; for a URL, into a folder here."""
    if is_url(store):
        return workspace.FOLDER / "overlays" / Path(store).stem
    return Path(store.removeprefix("file://"), "overlays")


def export_file(
    file: Annotated[
        str,
        typer.Argument(
            help="The new file: .npz, .npy, .h5, .parquet, .safetensors or .pt; or .zarr, also at "
            "a URL, for a compact copy of the whole store."
        ),
    ],
    store: StoreOption = None,
    features: Annotated[
        str | None,
        typer.Option(help="Which features, where the store has several: see dml info."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the features of a store with ids and labels into a file of another program.

    The file holds the fingerprint of the features: dml cache import gives the same store back.
    Beside a .npy, which has room for the features alone, comes a Parquet table. A .zarr is the
    store itself, with all its features and without the rows that were removed from it.

    Examples:

    [bold]dml cache export features.npz[/]

    [bold]dml cache export features.h5 --store photos.zarr --force[/]

    [bold]dml cache export s3://bucket/photos.zarr --store photos.zarr[/]
    """
    from cache import FeatureStore
    from cache.formats import check_target
    from pipeline.convert import export_features, rewrite_store
    from pipeline.output.conversion_lines import export_json, export_lines, is_store

    if is_store(file):
        _refuse_with_store(features=features, force=force)
    else:
        check_target(Path(file), is_forced=force)
    opened = FeatureStore.open(store or workspace.latest("store"), features)
    with stage(f"exporting {opened.path}") as progress:
        if is_store(file):
            report = rewrite_store(opened, file, progress=progress)
        else:
            report = export_features(opened, Path(file), is_forced=force, progress=progress)
    show(as_json, export_json(report), export_lines(report))


def _refuse_with_store(*, features: str | None, force: bool) -> None:
    """Refuse options that mean nothing where the whole store is written."""
    if features is not None:
        raise InputError("--features is for files: a .zarr gets all features of the store")
    if force:
        raise InputError("--force is for files: delete a store of that name yourself")


def remove(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of the rows.")] = None,
    ids_file: Annotated[
        Path | None, typer.Option("--from", help="A text file with one id a line.")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take images out of a store: nothing reads their features again.

    Their values stay in the files until dml cache export copies the store without them.

    Examples:

    [bold]dml cache remove cat/1.jpg cat/7.jpg --store photos.zarr[/]

    [bold]dml cache remove --from ids.txt[/]
    """
    from cache.revision import remove_rows
    from pipeline.output.conversion_lines import remove_json, remove_lines

    unwanted = [*(ids or []), *(_lines_of(ids_file) if ids_file else [])]
    if not unwanted:
        raise InputError("no ids were given: name them, or a file of them with --from FILE")
    left = remove_rows(store or workspace.latest("store"), unwanted)
    removed = len(set(unwanted))
    show(as_json, remove_json(left, removed), remove_lines(left, removed))


def _lines_of(file: Path) -> list[str]:
    """Read a text file's lines that are not empty."""
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"cannot read the ids of {file}: {reason}") from error
