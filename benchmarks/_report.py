"""What every benchmark has: a claim, a command line, and a result that says how it was made."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path("benchmarks/results")


def parser_of(name: str, doc: str | None) -> argparse.ArgumentParser:
    """Begin the command line of a script, with the claim and the place of its result."""
    parser = argparse.ArgumentParser(description=claim_of(doc))
    parser.add_argument("--out", type=Path, default=FOLDER / f"{name}.json")
    return parser


def add_sizes(parser: argparse.ArgumentParser, sizes: Mapping[str, tuple[int, str]]) -> None:
    """Add an option for each size: its default and what it means."""
    for name, (default, meaning) in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=meaning)


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what computes."""
    import torch

    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", help="cpu or cuda")


def head(doc: str | None, device: str = "cpu") -> dict[str, Any]:
    """Begin a report: the claim, the command, and where and with what it was measured."""
    # Not on top: processes that measure their memory start much faster without torch.
    import torch

    from pipeline.runs import provenance

    environment = provenance.environment(torch.device(device))
    return {"claim": claim_of(doc), "command": command(), "environment": environment}


def claim_of(doc: str | None) -> str:
    """Take the first line of a script's docstring."""
    return doc.splitlines()[0] if doc else ""


def command() -> str:
    """Repeat the call; of paths that hold on one machine only, the last part alone."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return " ".join(["uv run python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def write(path: Path, report: Mapping[str, Any]) -> None:
    """Write the result file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
