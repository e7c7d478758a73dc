"""dml info: the facts of a store or a run, and what is wrong with a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cache.errors import InputError
from cache.places.urls import Location, is_url
from pipeline.commands._options import (
    Device,
    JsonOption,
)
from pipeline.output.terminal import show, stage
from pipeline.runs import workspace


def info(
    path: Annotated[
        str | None,
        typer.Argument(
            help="A feature store, also at a URL, or the folder of a run. Default: the latest "
            "store."
        ),
    ] = None,
    duplicates: Annotated[
        bool,
        typer.Option(
            "--duplicates",
            help="Find pictures that are the same, or nearly: leaks between train and test first, "
            "then different labels, then the rest.",
        ),
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="With --duplicates: cosine from which features are alike. Default: 0.97."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="With --duplicates: a table of all of them, .csv or .parquet."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --duplicates: overwrite an existing table.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Compare the checksums of all chunks, look at the image files, and embed some "
            "images again. Ends with exit code 2 if anything is wrong.",
        ),
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(help="With --verify: weights file of the backbone. Default: the published."),
    ] = None,
    device: Annotated[
        Device | None, typer.Option(help="With --verify: auto takes cuda, else mps, else cpu.")
    ] = None,
    canaries: Annotated[
        int | None,
        typer.Option(min=0, help="With --verify: images that are embedded again. Default: 32."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the facts of a feature store or of a run, and what is wrong with a store.

    Examples:

    [bold]dml info[/]

    [bold]dml info dml-out/runs/prism --json[/]

    [bold]dml info photos.zarr --duplicates --out duplicates.csv[/]

    [bold]dml info photos.zarr --verify[/]
    """
    if duplicates and verify:
        raise InputError("--duplicates and --verify are two questions: ask one after the other")
    if not duplicates:
        given: dict[str, object] = {
            "--threshold": threshold,
            "--out": out,
            "--force": force or None,
        }
        _refuse_unused("--duplicates", given)
    if not verify:
        given = {"--weights": weights, "--device": device, "--canaries": canaries}
        _refuse_unused("--verify", given)
    chosen = path or workspace.latest("store")
    if duplicates:
        _duplicates(chosen, threshold, out, force, as_json)
    elif verify:
        _verify(chosen, weights, device or "auto", 32 if canaries is None else canaries, as_json)
    else:
        _facts(chosen, as_json)


def _refuse_unused(question: str, given: Mapping[str, object]) -> None:
    """Refuse options that would do nothing."""
    unused = [name for name, value in given.items() if value is not None]
    if unused:
        raise InputError(f"{unused[0]} goes with {question}: add it, or leave {unused[0]} out")


def _facts(path: Location, as_json: bool) -> None:
    from cache import FeatureStore
    from pipeline.output.present import facts_table
    from pipeline.runs.record import Run, is_run

    if not is_url(path) and is_run(Path(path)):
        run = Run.open(Path(path))
        facts: dict[str, Any] = {"run": str(path), "settings": asdict(run.settings), **run.record}
    else:
        facts = FeatureStore.open(path).describe()
    show(as_json, facts, [facts_table(facts)])


def _duplicates(
    path: Location, threshold: float | None, out: Path | None, force: bool, as_json: bool
) -> None:
    from cache import FeatureStore
    from pipeline.datasets.saving import check_place
    from pipeline.duplicates import list_duplicates
    from pipeline.output.duplicates_file import save_duplicates
    from pipeline.output.store_lines import duplicates_json, duplicates_lines

    store = FeatureStore.open(path)
    if out is not None:
        check_place(out, is_forced=force)
    with stage(f"looking for duplicates in {store.path}") as progress:
        report = list_duplicates(store, threshold=threshold, progress=progress)
    if out is not None:
        save_duplicates(report, out, is_forced=force)
    show(as_json, duplicates_json(report, out), duplicates_lines(report, out))


def _verify(
    path: Location, weights: Path | None, device: str, canaries: int, as_json: bool
) -> None:
    from cache import FeatureStore
    from pipeline.output.store_lines import refuse_faults, verify_json, verify_lines
    from pipeline.verify import verify

    store = FeatureStore.open(path)
    with stage(f"verifying {store.path}") as progress:
        report = verify(store, weights=weights, device=device, canaries=canaries, progress=progress)
    show(as_json, verify_json(report), verify_lines(report))
    refuse_faults(report)
