"""dml labels: people's decisions become corrected labels, beside the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands._options import JsonOption, StoreOption
from pipeline.output.terminal import show
from pipeline.runs import workspace

CorrectedArgument = Annotated[Path, typer.Argument(help="Corrected labels.")]


def apply_decisions(
    decisions: Annotated[
        list[Path],
        typer.Argument(help="Tables id,decision,label,note; of two decisions the later counts."),
    ],
    store: StoreOption = None,
    onto: Annotated[
        Path | None,
        typer.Option(
            help="Corrected labels to go on from, or an overlay of dml noise. Default: the labels "
            "of the store."
        ),
    ] = None,
    new_classes: Annotated[
        bool, typer.Option("--new-classes", help="Take labels that no picture has had yet.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The new file. Default: dml-out/labels/vN.parquet.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make corrected labels of decisions: keep, relabel or drop.

    The decisions come from the page of dml audit --html, from dml review or from a spreadsheet. The
    store stays as it is, and so does the file that is gone on from.

    Examples:

    [bold]dml labels apply decisions.csv[/]

    [bold]dml labels apply second.csv --onto dml-out/labels/v1.parquet[/]
    """
    from pipeline.audit.decisions import read_decisions

    parts = [read_decisions(path) for path in decisions]  # before the wait for the store

    from datetime import UTC, datetime

    from cache import FeatureStore
    from pipeline.audit.applying import apply, default_path, describe
    from pipeline.labels.corrected_file import write_corrected
    from pipeline.noise._overlay import refuse_existing
    from pipeline.output.label_lines import applied_json, applied_lines

    if out is not None:
        refuse_existing(out)
    opened = FeatureStore.open(store or workspace.latest("store"))
    applied = apply(
        opened,
        parts,
        sources=[path.name for path in decisions],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        onto=onto,
        new_classes=new_classes,
    )
    path = out or default_path(applied.corrected.version)
    write_corrected(path, applied.corrected)
    described = describe(applied.corrected)
    facts = applied_json(str(path), str(opened.path), described, applied.conflicts)
    show(as_json, facts, applied_lines(facts))


def describe_labels(labels: CorrectedArgument, as_json: JsonOption = False) -> None:
    """Show what corrected labels change, and who decided when.

    Examples:

    [bold]dml labels describe dml-out/labels/v1.parquet[/]
    """
    from pipeline.audit.applying import describe
    from pipeline.labels.corrected_file import read_corrected
    from pipeline.output.label_lines import label_lines

    facts = {"labels": str(labels), **describe(read_corrected(labels))}
    show(as_json, facts, label_lines(facts))


def export_labels(
    labels: CorrectedArgument,
    to: Annotated[Path, typer.Option(help="The new table.")],
    as_json: JsonOption = False,
) -> None:
    """Write corrected labels as a CSV table of all rows, which other programs read.

    Its columns are id, path, label, given_label, decision and note; dropped rows are in it, with
    the decision drop.

    Examples:

    [bold]dml labels export dml-out/labels/v1.parquet --to labels.csv[/]
    """
    from pipeline.labels.corrected_file import read_corrected, write_table

    found = read_corrected(labels)
    write_table(to, found)
    facts = {"table": str(to), "rows": len(found.ids), "labels": str(labels)}
    show(as_json, facts, [f"{to}: {len(found.ids):,} rows"])
