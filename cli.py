"""The command line: names for the commands of `pipeline.commands`, and exit codes.

A bad argument or bad data is one line and exit code 2, an interruption 130, a fault of this program
or a failed cell of an ablation 1; `--debug` shows where an error was raised.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from pipeline.commands import (
    ablate,
    audit,
    cache,
    data,
    demo,
    evaluate,
    export,
    extract,
    index,
    info,
    labels,
    listing,
    noise,
    probe,
    report,
    review,
    search,
    train,
)
from pipeline.output.faults import INTERRUPTED, explain
from pipeline.output.terminal import note

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
cache_app = typer.Typer(
    help="Bring features from other programs into a store, and those of a store into files; take "
    "images out of a store.",
)
noise_app = typer.Typer(
    help="Make wrong labels as files that can be shared, read published lists, estimate noise.\n\n"
    "A label overlay is a Parquet file with a label for each training row of one manifest; it "
    "changes no store. Train with it: [bold]dml train --noise file:OVERLAY[/].",
)
labels_app = typer.Typer(
    help="Correct labels by people's decisions, in files beside the store.\n\n"
    "Decisions are a table id,decision,label,note with keep, relabel or drop. Corrected labels are "
    "a Parquet file with versions; train with them: [bold]dml train --labels FILE[/].",
)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Hold the options of every command; `main` reads them."""


app.command()(extract.extract)
app.command()(train.train)
app.command(name="eval")(evaluate.evaluate)
app.command()(export.export)
app.command()(ablate.ablate)
app.command()(ablate.table)
app.command()(probe.probe)
app.command()(report.report)
app.command()(audit.audit)
app.command()(review.review)
app.command()(index.index)
app.command()(search.search)
app.command()(data.data)
app.add_typer(cache_app, name="cache")
app.add_typer(noise_app, name="noise")
app.add_typer(labels_app, name="labels")
app.command(name="list")(listing.list_entries)
app.command()(info.info)
app.command()(demo.demo)
cache_app.command(name="import")(cache.import_file)
cache_app.command(name="export")(cache.export_file)
cache_app.command(name="remove")(cache.remove)
noise_app.command(name="make")(noise.make_noise)
noise_app.command(name="describe")(noise.describe_noise)
noise_app.command(name="export")(noise.export_noise)
noise_app.command(name="import")(noise.import_noise)
noise_app.command(name="estimate")(noise.estimate_noise)
labels_app.command(name="apply")(labels.apply_decisions)
labels_app.command(name="describe")(labels.describe_labels)
labels_app.command(name="export")(labels.export_labels)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    try:
        is_bare = given in ([], ["cache"], ["noise"], ["labels"])  # a group of commands by itself
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
