"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Device = Literal["auto", "cpu", "cuda", "mps"]
Protocol = Literal["query-gallery", "class-disjoint"]
Validation = Literal["classes", "rows", "split"]
DeviceOption = Annotated[Device, typer.Option(help="auto takes cuda, else mps, else cpu.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")]
ProtocolOption = Annotated[
    Protocol | None,
    typer.Option(
        help="query-gallery (test rows search the training rows) or class-disjoint (half of the "
        "classes trains, the others search among themselves). Default: what the splits suggest."
    ),
]
StoreOption = Annotated[Path | None, typer.Option(help="The feature store. Default: the latest.")]
