"""Evaluations as tables and lines for people, and as plain values for `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from pipeline.evaluate import CLUSTERING_SEED, UNTRAINED, Evaluation, Group
from pipeline.measures.breakdown import mean_over_groups
from pipeline.output.present import figures_table, metrics_json, percent
from pipeline.runs.record import Run

_SHOWN_GROUPS = 20
_HEADINGS = {"precision@1": "prec@1", "r_precision": "r-prec"}


def evaluation_json(run: Run, evaluation: Evaluation) -> dict[str, Any]:
    """Write an evaluation as plain values, metrics in percent; trained is None for `none`."""
    trained = [name for name in evaluation.rows if name != UNTRAINED]
    found = next(iter(evaluation.rows.values()))
    facts = {
        "run": str(run.path),
        "protocol": evaluation.protocol,
        "queries": found.num_queries,
        "unmatched": found.lone_queries,
        "search": {"device": evaluation.device, "forms": list(evaluation.forms)},
        "trained": _metrics(evaluation, trained[0]) if trained else None,
        "selected": _metrics(evaluation, trained[1]) if trained[1:] else None,
        "untrained": _metrics(evaluation, UNTRAINED) if UNTRAINED in evaluation.rows else None,
    }
    if evaluation.by:
        facts["by"] = evaluation.by
        facts["groups"] = [_group_json(group) for group in evaluation.groups]
    return facts


def evaluation_lines(evaluation: Evaluation) -> list[Any]:
    """Lay out the metrics, and those of the worst groups if queries were grouped."""
    lines: list[Any] = [_table(evaluation)]
    if evaluation.by:
        lines += ["", _groups_table(evaluation.by, evaluation.groups), _groups_note(evaluation)]
    return lines


def evaluation_note(evaluation: Evaluation) -> str:
    """Say what was searched for in what."""
    roles = evaluation.split
    found = next(iter(evaluation.rows.values()))
    if roles.own_rows is None:
        text = f"{len(roles.query):,} test rows searched among {len(roles.gallery):,} gallery rows"
    else:
        text = f"{len(roles.query):,} rows of unseen classes, each searched among all others"
    lone = f"; {found.lone_queries:,} without a match were left out" if found.lone_queries else ""
    how = f"percent; exact search on {evaluation.device} by {' and '.join(evaluation.forms)}"
    if UNTRAINED not in evaluation.rows:
        how += "; the untrained features do not fit into the memory and are left out"
    return f"{evaluation.protocol}: {text}{lone}; {how}{_beyond(evaluation)}{_how(evaluation)}"


def _beyond(evaluation: Evaluation) -> str:
    """Name the K that no query can reach."""
    roles = evaluation.split
    reach = len(roles.gallery) - (roles.own_rows is not None)
    found = next(iter(evaluation.rows.values()))
    beyond = sorted({k for k in (*found.recall, *found.map_at) if k > reach})
    if not beyond:
        return ""
    return f"; K = {', '.join(map(str, beyond))} means all {reach:,} rows that a query can find"


def _how(evaluation: Evaluation) -> str:
    """Say how NMI and AMI came about."""
    if not evaluation.clusterings:
        return ""
    first = next(iter(evaluation.clusterings.values()))
    return (
        f"; nmi and ami of the test rows by k-means with {first.num_clusters:,} clusters, one for "
        f"each class, seed {CLUSTERING_SEED}"
    )


def _table(evaluation: Evaluation) -> Table:
    """Lay out metrics in percent, one row for the untrained features and one for the run."""
    names = list(_metrics(evaluation, next(iter(evaluation.rows))))
    table = figures_table("", *(_HEADINGS.get(name, name) for name in names))
    for name in evaluation.rows:
        table.add_row(
            name, *(percent(value / 100) for value in _metrics(evaluation, name).values())
        )
    return table


def _groups_note(evaluation: Evaluation) -> str:
    """Say which groups are shown and what the last column is."""
    text = "lowest map@r first"
    if len(evaluation.rows) > 1:
        text += "; before: map@r of the untrained features"
    number = len(evaluation.groups)
    if number > _SHOWN_GROUPS:
        plural = "classes" if evaluation.by == "class" else "superlabels"
        text += f"; the worst {_SHOWN_GROUPS} of {number:,} {plural}, all of them: --json"
    return text


def _groups_table(by: str, groups: Sequence[Group]) -> Table:
    """Lay out the metrics of the worst groups below the mean over all of them, in percent."""
    untrained, *trained = groups[0].rows
    shown = trained[0] if trained else untrained
    names = [name for name in groups[0].rows[shown].shares() if name != "precision@1"]
    headings = [_HEADINGS.get(name, name) for name in names]
    table = figures_table(by, "queries", *headings, *(["before"] if trained else []))

    def add(name: str, count: int, last: dict[str, float], first: dict[str, float]) -> None:
        values = [last[each] for each in names] + ([first["map@r"]] if trained else [])
        table.add_row(name, f"{count:,}", *map(percent, values))

    means = [mean_over_groups([group.rows[row] for group in groups]) for row in (shown, untrained)]
    add("(mean)", sum(each.rows[shown].num_queries for each in groups), *means)
    for group in groups[:_SHOWN_GROUPS]:
        last, first = group.rows[shown], group.rows[untrained]
        add(group.name, last.num_queries, last.shares(), first.shares())
    return table


def _metrics(evaluation: Evaluation, name: str) -> dict[str, float]:
    """Collect a row's metrics in percent."""
    found = metrics_json(evaluation.rows[name])
    if name in evaluation.clusterings:
        cluster = evaluation.clusterings[name]
        found |= {"nmi": 100 * cluster.nmi, "ami": 100 * cluster.ami}
    return found


def _group_json(group: Group) -> dict[str, Any]:
    """Write a group as plain values; its metrics are None where no query has a match."""
    untrained, *trained = group.rows.values()

    def metrics(rows: list[Any]) -> dict[str, float] | None:
        return metrics_json(rows[0]) if rows and untrained.num_queries else None

    return {
        "name": group.name,
        "queries": untrained.num_queries,
        "unmatched": untrained.lone_queries,
        "trained": metrics(trained),
        "untrained": metrics([untrained]),
    }
