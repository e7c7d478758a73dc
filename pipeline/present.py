"""Results as tables and lines for people, and as plain values for `--json`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pipeline.catalogue import Entry
    from pipeline.demo import Row
    from pipeline.evaluate import Evaluation
    from pipeline.extract import ExtractReport
    from pipeline.metrics import Retrieval
    from pipeline.recipes import Recipe


def retrieval_json(found: Retrieval) -> dict[str, Any]:
    """Write the metrics with the names that they are printed with."""
    recalls = {f"recall@{k}": value for k, value in found.recall.items()}
    rest = {
        "precision@1": found.precision_at_1,
        "r_precision": found.r_precision,
        "map@r": found.map_at_r,
    }
    counts = {"queries": found.num_queries, "lone_queries": found.lone_queries}
    return {**recalls, **rest, **counts}


def evaluation_table(evaluation: Evaluation) -> Table:
    """Lay out metrics in percent, one row for the untrained features and one for the run."""
    recall_at = next(iter(evaluation.rows.values())).recall
    names = [*(f"recall@{k}" for k in recall_at), "precision@1", "r-precision", "map@r"]
    table = _table("", *names)
    for name, found in evaluation.rows.items():
        values = [*found.recall.values(), found.precision_at_1, found.r_precision, found.map_at_r]
        table.add_row(name, *map(percent, values))
    return table


def evaluation_note(evaluation: Evaluation) -> str:
    """Say what was searched for in what."""
    roles = evaluation.split
    found = next(iter(evaluation.rows.values()))
    if roles.own_rows is None:
        text = f"{len(roles.query):,} test rows searched among {len(roles.gallery):,} gallery rows"
    else:
        text = f"{len(roles.query):,} rows of unseen classes, each searched among all others"
    lone = f"; {found.lone_queries:,} without a match were left out" if found.lone_queries else ""
    return f"{evaluation.protocol}: {text}{lone}; percent; exact search on {evaluation.device}"


def demo_lines(rows: Sequence[Row], noise: str) -> list[Any]:
    """Lay out the demo's comparison, in percent, and say what to look at."""
    rate = float(noise.partition(":")[2])
    table = _table("recall@1", "right labels", f"{100 * rate:.0f}% wrong", "lost", "found", "right")
    for row in rows:
        clean, noisy = row.clean.recall[1], row.noisy.recall[1]
        values = (clean, noisy, clean - noisy, row.found, row.right)
        table.add_row(row.method, *map(percent, values))
    seconds = sum(row.seconds for row in rows)
    return [
        table,
        "",
        "found: share of the wrong labels that were left out; "
        "right: share of the left-out labels that were wrong",
        f"six trainings: {seconds:.0f} s; next: dml extract YOUR_PHOTOS/ && dml train && dml eval",
    ]


def demo_json(rows: Sequence[Row], noise: str) -> dict[str, Any]:
    """Write the demo's comparison as plain values."""
    return {
        "noise": noise,
        "rows": {
            row.method: {
                "clean": retrieval_json(row.clean),
                "noisy": retrieval_json(row.noisy),
                "wrong_labels_found": row.found,
                "dropped_labels_wrong": row.right,
                "seconds": row.seconds,
            }
            for row in rows
        },
    }


def train_lines(path: str, record: Mapping[str, Any]) -> list[str]:
    """Say what a training run did, in a few lines."""
    counts, noise, selection = record["counts"], record["noise"], record["selection"]
    lines = [
        f"{path}: {counts['train']:,} rows of {counts['train_classes']:,} classes, "
        f"{record['seconds']:.1f} s on {record['environment']['device']} ({record['protocol']})"
    ]
    if noise is not None:
        lines.append(
            f"noise {noise['spec']}: {percent(noise['realised_rate'])} % of labels changed"
        )
    if selection["noise_rate"] is not None:
        lines.append(
            f"taken for wrong: {selection['dropped']:,} labels "
            f"(noise rate {percent(selection['noise_rate'])} %)"
        )
    found = selection["detection"]
    if found is not None and found["auc"] is not None and selection["dropped"]:
        lines.append(
            f"of the wrong labels {percent(found['recall'])} % were found; of those taken for "
            f"wrong {percent(found['precision'])} % were; AUC {found['auc']:.3f}"
        )
    return lines


def extract_lines(report: ExtractReport) -> list[str]:
    """Say what an extraction did, in a few lines."""
    size = f"{report.readable:,} rows of {report.num_features:,} features"
    if report.already_complete:
        lines = [f"{report.store} is complete: {size}; nothing to do"]
    else:
        lines = [
            f"{report.store}: {size}, {report.seconds:.1f} s "
            f"({report.images_per_second:.0f} images a second on {report.device}, "
            f"{report.precision})"
        ]
    if report.resumed_chunks and not report.already_complete:
        lines.append(f"{report.resumed_chunks} chunks were there already")
    if report.relabelled:
        lines.append(f"labels or splits of {report.relabelled:,} rows were brought up to date")
    if report.unreadable:
        lines.append(f"{len(report.unreadable):,} images could not be read and were left out:")
        shown = list(report.unreadable.items())[:10]
        lines += [f"  {name}: {reason}" for name, reason in shown]
        if len(report.unreadable) > len(shown):
            lines.append("  ... all of them: dml info --json")
    return lines


def catalogue_table(entries: Iterable[Entry]) -> Table:
    """List names with one line each and the options with their defaults."""
    table = Table("name", "what it is", "options", box=None, pad_edge=False, show_edge=False)
    for entry in entries:
        options = [
            f"{option.name}" if option.is_required else f"{option.name}={option.default}"
            for option in entry.options.values()
        ]
        table.add_row(Text(entry.name, style="bold"), entry.summary, "\n".join(options))
    return table


def recipe_table(recipes: Mapping[str, Recipe]) -> Table:
    """List recipes with the loss and selection that they pair."""
    table = Table("recipe", "what it is", "loss", "selection", box=None, pad_edge=False)
    for name, recipe in recipes.items():
        parts = (recipe.summary, recipe.loss or "-", recipe.selection)
        table.add_row(Text(name, style="bold"), *parts)
    return table


def facts_table(facts: Mapping[str, Any]) -> Table:
    """Lay out nested facts as name and value."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _flat(facts, ""):
        table.add_row(name, Text(str(value)))
    return table


def percent(value: float | None) -> str:
    """Write a share as percent with one digit; a dash where there is none."""
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _flat(facts: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and len(value) > 12:
            yield f"{prefix}{name}", f"{len(value)} values, last {value[-1]}"
        else:
            yield f"{prefix}{name}", value
