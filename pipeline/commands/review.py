"""dml review: decide about the suspects of an audit, in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands._options import JsonOption
from pipeline.output.terminal import note, show


def review(
    audit: Annotated[
        Path | None,
        typer.Argument(
            metavar="[AUDIT|RUN]",
            help="Folder of an audit, or of a run with its audit. Default: dml-out/audit.",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of this machine; 0 is any that is free.")
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address, open no browser.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="The table of decisions. Default: decisions.csv in the audit's folder."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Look at the suspects of an audit and decide: keep, relabel or drop, with one key each.

    Shows each image beside its nearest neighbours in the given and in the suggested class, on a
    page that only this machine can reach, and only with the address that is printed. Every
    decision is on the disk at once: what ends the page, whatever it is, loses nothing, and the
    same command goes on. Ctrl-C ends it and writes the table of decisions, which
    [bold]dml labels apply[/] takes. One person at a time reviews an audit.

    Examples:

    [bold]dml review[/]

    [bold]dml review dml-out/audit --out decisions.csv --no-browser --port 8765[/]
    """
    from pipeline.audit.findings import read_summary
    from pipeline.audit.onward import apply_command
    from pipeline.output.review_lines import review_json, review_lines
    from pipeline.review.opening import find_audit, opened
    from pipeline.review.serving import open_browser, serve

    folder = find_audit(audit)

    def announce(url: str) -> None:
        note(f"reviewing {folder}: {url} (Ctrl-C ends and writes the decisions)")
        if not no_browser:
            open_browser(url)

    with opened(folder, out=out) as (session, pictures):
        serve(session, pictures, title=str(folder), port=port, announce=announce)
        written = session.finish()
        then = None
        if written is not None:
            then = apply_command(read_summary(folder), folder, str(written))
        count = session.suspects.count
        facts = review_json(str(folder), written, then, session.counts(), count)
    show(as_json, facts, review_lines(facts))
