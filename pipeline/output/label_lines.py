"""What `dml labels` prints: what was decided, what that changes, and who did not agree."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.audit.decisions import Conflict

_LISTED = 10


def applied_json(
    path: str, store: str, facts: Mapping[str, Any], conflicts: Sequence[Conflict]
) -> dict[str, Any]:
    """Write what was applied to a store as plain values, with every overruled decision."""
    overruled = [
        {"id": each.id, "earlier": str(each.earlier), "later": str(each.later)}
        for each in conflicts
    ]
    return {"labels": path, "store": store, **facts, "overruled": overruled}


def applied_lines(facts: Mapping[str, Any]) -> list[str]:
    """Say what was applied, who did not agree, and what to do next."""
    lines = label_lines(facts)
    overruled = facts["overruled"]
    if overruled:
        lines.append(f"{len(overruled):,} decisions differ from an earlier one, the later counts:")
        lines += [
            f"  {each['id']}: {each['earlier']}, now {each['later']}"
            for each in overruled[:_LISTED]
        ]
        lines += _more(len(overruled), "all of them: the same command with --json")
    train = ["dml", "train", "--store", facts["store"], "--labels", facts["labels"]]
    return [*lines, f"next: {shlex.join(train)} && dml eval"]


def label_lines(facts: Mapping[str, Any]) -> list[str]:
    """Say what corrected labels are, list their versions and the first rows that they change."""
    counts = facts["decisions"]
    begun = "the store's labels" if facts["noise"] is None else f"noise {facts['noise']}"
    lines = [
        f"{facts['labels']}: version {facts['version']}, {facts['rows']:,} rows, "
        f"{facts['labels_changed']:,} labels changed, {counts['drop']:,} rows dropped",
        f"decisions: {counts['keep']:,} keep, {counts['relabel']:,} relabel, "
        f"{counts['drop']:,} drop; begun with {begun}",
        f"manifest {facts['manifest'][:12]}, dml {facts['dml']}, format {facts['format']}",
    ]
    if facts["classes_new"]:
        lines.append("new classes: " + ", ".join(facts["classes_new"]))
    lines += [
        f"version {step['version']}, {step['created']}: {', '.join(step['sources'])} "
        f"({step['keep']:,} keep, {step['relabel']:,} relabel, {step['drop']:,} drop, "
        f"{step['overruled']:,} of them overrule earlier ones)"
        for step in facts["history"]
    ]
    changes = [row for row in facts["decided"] if row["decision"] != "keep"]
    lines += [f"  {row['id']}: {_change(row)}" for row in changes[:_LISTED]]
    return lines + _more(len(changes), f"all of them: dml labels describe {facts['labels']} --json")


def _change(row: Mapping[str, str]) -> str:
    given = row["given_label"]
    return f"{given}, dropped" if row["decision"] == "drop" else f"{given} -> {row['label']}"


def _more(count: int, where: str) -> list[str]:
    return [f"  ... {where}"] if count > _LISTED else []
