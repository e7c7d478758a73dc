"""What comes after an audit: the command that makes corrected labels of the decisions about it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.audit.findings import NOISE


def apply_command(summary: Mapping[str, Any], folder: Path, decisions: str) -> str:
    """Write the command that applies decisions to the labels that were audited.

    Args:
        summary: of the audit.
        folder: where the audit was saved.
        decisions: the table of decisions.
    """
    words = ["dml", "labels", "apply", decisions, "--store", summary["store"]]
    if labels := summary["settings"].get("labels"):
        words += ["--onto", labels]
    elif (folder / NOISE).is_file():
        words += ["--onto", str(folder / NOISE)]
    return shlex.join(words)
