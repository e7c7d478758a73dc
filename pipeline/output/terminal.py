"""The terminal: results on standard output, progress and notes on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_COLUMNS = (BarColumn, MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn)


def show(as_json: bool, facts: Mapping[str, Any] | Sequence[Any], lines: Sequence[Any]) -> None:
    """Print a result on standard output: one JSON value, or lines and tables."""
    if as_json:
        sys.stdout.write(json.dumps(facts, indent=2, default=str, allow_nan=False) + "\n")
        return
    console = Console()
    for line in lines:
        console.print(
            line, highlight=False, markup=False, emoji=False, soft_wrap=isinstance(line, str)
        )


def note(text: str) -> None:
    """Print one line on standard error."""
    Console(stderr=True).print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)


@contextmanager
def stage(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error for one piece of work; without a terminal, one line."""
    console = Console(stderr=True)
    if not console.is_terminal:
        note(f"{title} ...")
        yield lambda done, total: None
        return
    columns = TextColumn("{task.description}", markup=False), *(column() for column in _COLUMNS)
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
