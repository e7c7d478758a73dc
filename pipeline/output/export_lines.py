"""Exports as lines for people, and as plain values for `--json`."""

from __future__ import annotations

from typing import Any

from pipeline.export import Exported


def export_json(done: Exported) -> dict[str, Any]:
    """Write what was exported as plain values."""
    return {
        "folder": str(done.folder),
        "files": [str(file) for file in done.files],
        "seconds": done.seconds,
        "card": done.card,
    }


def export_lines(done: Exported) -> list[str]:
    """Say what was written, what goes in and comes out, and how it was checked."""
    model, check = done.card["model"], done.card["check"]
    lines = [
        f"{done.files[0]}: {model['format']}, {model['bytes']:,} bytes, "
        f"{_tensor(model['input'])} to {_tensor(model['output'])}; {done.seconds:.1f} s",
        f"compared with the run on {check['on']}: least cosine {check['min_cosine']:.7f}",
    ]
    if check["min_cosine_to_store"] is not None:
        least = check["min_cosine_to_store"]
        lines.append(f"and with the stored features, which are rounded: least cosine {least:.5f}")
    if model["with_backbone"]:
        lines.append(f"left to you: {', '.join(done.card['preprocessing']['outside'])}")
    lines.append(f"how to use it: {done.files[1]}; all facts: {done.files[2].name}")
    return lines


def _tensor(facts: dict[str, Any]) -> str:
    return f"{facts['name']} {facts['dtype']} ({', '.join(map(str, facts['shape']))})"
