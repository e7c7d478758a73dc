"""What a report was made of and with, for whoever wants to repeat it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pipeline.choices.grid import UNTRAINED
from pipeline.reporting.sources import Sources
from pipeline.runs.record import Run


def facts_of(sources: Sources) -> dict[str, dict[str, str]]:
    """Say what everything was made of and with."""
    found: dict[str, dict[str, str]] = {}
    if sources.store is not None:
        facts = sources.store.describe()
        left_out = ("unreadable", "chunk_rows", "finished_chunks", "num_chunks", "is_complete")
        kept = {name: value for name, value in facts.items() if name not in left_out and value}
        found["Feature store"] = {name: _plain(value) for name, value in kept.items()}
    for path, rows in sources.ablations.items():
        found[f"Ablation {path}"] = _facts_of_ablation(rows)
    for run in sources.runs:
        found[f"Run {run.path}"] = _facts_of_run(run)
    return found


def _facts_of_ablation(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Collect what all rows share, and the different values of what they do not."""
    names = ("command", "store", "hardware", "device", "way", "cores", "threads", "git")
    libraries = ("python", "dml", "torch", "numpy", "zarr")
    facts = {"runs": str(sum(row["method"] != UNTRAINED for row in rows))}
    for name in (*names, *libraries):
        values = dict.fromkeys(row.get(name) for row in rows)
        facts[name] = "; ".join(str(value) for value in values if value is not None) or "unknown"
    return facts


def _facts_of_run(run: Run) -> dict[str, str]:
    record = run.record
    usual = asdict(type(run.settings)())
    settings = asdict(run.settings)
    chosen = {key: value for key, value in settings.items() if value != usual[key]}
    facts = {
        "repeat it": f"dml train --config {run.path}",
        "loss": run.settings.loss,
        "seed": run.settings.seed,
        "epochs": run.settings.epochs,
        "transform": record.get("transform", "centre"),
        "settings other than usual": chosen or "none",
        "created": record["created"],
        "seconds": record["seconds"],
        "store": record["store"]["fingerprint"],
        "protocol": record["protocol"],
        "rows": record["counts"],
        "noise": record["noise"] or "labels as given",
        "selection": record["selection"],
        "validation": record["validation"] or "none",
        **record["environment"],
    }
    return {name: _plain(value) for name, value in facts.items()}


def _plain(value: object) -> str:
    """Write a value for people: no braces around names and values."""
    if isinstance(value, dict):
        known = {name: each for name, each in value.items() if each is not None}
        return ", ".join(f"{name} {_plain(each)}" for name, each in known.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
