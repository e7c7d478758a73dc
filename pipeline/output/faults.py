"""What an error says to a user, and the exit code that goes with it."""

from __future__ import annotations

import typer

from cache.errors import DmlError

INTERRUPTED = 130


def explain(error: BaseException) -> tuple[int, str]:
    """Find the exit code and the line for an error."""
    # Typer's usage errors have one base, which is public only through its subclass.
    usage_error: type[Exception] = typer.BadParameter.__mro__[2]
    if isinstance(error, KeyboardInterrupt | typer.Abort):  # older Typer turns one into the other
        return INTERRUPTED, "interrupted; nothing half-finished is left, run the same command again"
    if isinstance(error, usage_error):
        return 2, str(error.format_message())  # type: ignore[attr-defined]
    if isinstance(error, DmlError):
        return 2, str(error)
    first_line = str(error).partition("\n")[0]
    return 1, f"unexpected {type(error).__name__}: {first_line}: --debug shows where; please report"
