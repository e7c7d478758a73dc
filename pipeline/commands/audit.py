"""dml audit: which labels are probably wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cache.errors import InputError
from cache.places.urls import is_url
from pipeline.commands._options import DeviceOption, FeaturesOption, JsonOption
from pipeline.output.terminal import note, show, stage
from pipeline.runs import workspace

FOLDER = workspace.FOLDER / "audit"
PAGE = "suspects.html"


def audit(
    path: Annotated[
        str | None,
        typer.Argument(
            help="A feature store, also at a URL, or the folder of a run, whose training then "
            "counts, too. Default: the latest store."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the findings; an audit that is there is replaced.")
    ] = FOLDER,
    csv: Annotated[
        bool, typer.Option("--csv", help="Write the findings as findings.csv, too.")
    ] = False,
    html: Annotated[
        bool,
        typer.Option(
            "--html", help="Write suspects.html, too: pictures with buttons to keep, relabel, drop."
        ),
    ] = False,
    top: Annotated[
        int | None,
        typer.Option(min=0, help="How many suspects have pictures in it. Default: 200."),
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Make labels wrong first, to measure how many are found: symmetric:0.2. See dml "
            "list noise.",
        ),
    ] = None,
    features: FeaturesOption = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of the noise and of the audit.")
    ] = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find the training images whose label is probably wrong, and the label that fits better.

    Neighbours, class centres, a classifier that has not seen the image, and a run's training if one
    is given, are combined into one probability. Where right labels are known (--noise, or a
    true_label column) they measure the audit and take no part in it.

    Examples:

    [bold]dml audit[/]

    [bold]dml audit photos.zarr --csv[/]

    [bold]dml audit --html[/]

    [bold]dml audit photos.zarr --noise symmetric:0.2 --out trial[/]

    [bold]dml audit dml-out/runs/prism[/]
    """
    from pipeline.audit.findings import check_folder
    from pipeline.labels.corruption import NoiseSpec

    check_folder(out)
    if top is not None and not html:
        raise InputError(f"--top {top} goes with --html: add it, or leave --top out")
    if noise is not None:
        NoiseSpec.parse(noise)  # before the wait for the store

    from cache import FeatureStore
    from pipeline.audit.audit import audit_run, audit_store
    from pipeline.output.audit_lines import audit_json, audit_lines
    from pipeline.runs.opening import open_run
    from pipeline.runs.record import is_run

    chosen = path or workspace.latest("store")
    if not is_url(chosen) and is_run(Path(chosen)):
        for option, value in {"--noise": noise, "--features": features}.items():
            if value is not None:
                raise InputError(
                    f"{option} goes with a store, {chosen} is a run, which has its own: leave "
                    f"{option} out, or name the store"
                )
        run, store = open_run(Path(chosen), None)
        with stage(f"auditing {run.path}") as progress:
            found = audit_run(run, store, seed=seed, device=device, progress=progress)
    else:
        store = FeatureStore.open(chosen)
        with stage(f"auditing {store.path}") as progress:
            found = audit_store(
                store,
                noise=noise,
                features=features,
                seed=seed,
                device=device,
                progress=progress,
            )
    found.save(out, with_csv=csv)
    if html:
        from pipeline.audit.onward import apply_command
        from pipeline.pages.suspects import TOP, suspects_page, write_page

        then = apply_command(found.summary, out, "decisions.csv")
        with stage(f"shrinking the pictures of {store.root or store.path}") as progress:
            pictured = TOP if top is None else top
            page = suspects_page(found, store, pictured, then=then, progress=progress)
        write_page(out / PAGE, page)
        note(f"{out / PAGE}: open it in a browser, decide, and download the decisions")
    show(as_json, audit_json(found, out), audit_lines(found, out))
