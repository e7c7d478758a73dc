"""Results as tables and lines for people, and as plain values for `--json`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from pipeline.choices.recipes import FAMILIES
from pipeline.labels.corruption import NoiseSpec

if TYPE_CHECKING:
    from pipeline.choices.catalogue import Entry
    from pipeline.choices.recipes import Recipe
    from pipeline.demo import Row
    from pipeline.measures.metrics import Retrieval
    from pipeline.probe import Moment
    from pipeline.runs.record import Run


def train_json(run: Run) -> dict[str, Any]:
    """Write what a training run did as plain values; rates and shares are 0 to 1."""
    record, noise = run.record, run.record["noise"]
    return {
        "run": str(run.path),
        "store": record["store"]["path"],
        "loss": run.settings.loss,
        "labels": record.get("labels"),
        "choice": record.get("choice"),
        "noise": {
            "nominal": noise["nominal_rate"] if noise else 0.0,
            "realised": noise["realised_rate"] if noise else 0.0,
        },
        "detection": record["selection"]["detection"],
        "seconds": record["seconds"],
        "features": record["features"],
        "transform": record.get("transform"),
        "protocol": record["protocol"],
        "counts": record["counts"],
        "noise_rate": record["selection"]["noise_rate"],
        "dropped": record["selection"]["dropped"],
        "loss_facts": record["loss"],
        "validation": record["validation"],
        "resumed_at_epoch": record["resumed_at_epoch"],
        "history": record["history"],
        "settings": asdict(run.settings),
    }


def metrics_json(found: Retrieval) -> dict[str, float]:
    """Write the metrics in percent with the names that they are printed with."""
    return {name: 100 * share for name, share in found.shares().items()}


def catalogue_json(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Write entries with their options as plain values."""
    return [
        {
            "name": entry.name,
            "summary": entry.summary,
            "options": {
                option.name: {
                    "default": option.default,
                    "expected": option.expected,
                    "required": option.is_required,
                }
                for option in entry.options.values()
            },
        }
        for entry in entries
    ]


def recipes_json(recipes: Mapping[str, Recipe]) -> list[dict[str, Any]]:
    """Write recipes as plain values; their options are the values that they set."""
    return [{"name": name, **asdict(recipe)} for name, recipe in recipes.items()]


def demo_lines(rows: Sequence[Row], noise: str) -> list[Any]:
    """Lay out the demo's comparison, in percent, and say what to look at."""
    rate = NoiseSpec.parse(noise).rate or 0
    table = figures_table(
        "recall@1", "right labels", f"{100 * rate:.0f}% wrong", "lost", "found", "right"
    )
    for row in rows:
        clean, noisy = row.clean.recall[1], row.noisy.recall[1]
        values = (clean, noisy, clean - noisy, row.found, row.right)
        table.add_row(row.method, *map(percent, values))
    seconds = sum(row.seconds for row in rows)
    return [
        table,
        "",
        "found: share of the wrong labels that count by less than half; "
        "right: share of the labels that do so which were wrong",
        f"six trainings: {seconds:.0f} s; next: dml extract YOUR_PHOTOS/ && dml train && dml eval",
    ]


def demo_json(rows: Sequence[Row], noise: str) -> dict[str, Any]:
    """Write the demo's comparison as plain values, metrics and shares in percent."""
    return {
        "noise": noise,
        "rows": {
            row.method: {
                "clean": metrics_json(row.clean),
                "noisy": metrics_json(row.noisy),
                "found": None if row.found is None else 100 * row.found,
                "right": None if row.right is None else 100 * row.right,
                "seconds": row.seconds,
            }
            for row in rows
        },
    }


def train_lines(path: str, record: Mapping[str, Any]) -> list[Any]:
    """Say what a training run did, in a few lines."""
    counts, noise, selection = record["counts"], record["noise"], record["selection"]
    lines = [
        f"{path}: {counts['train']:,} rows of {counts['train_classes']:,} classes, "
        f"{record['seconds']:.1f} s on {record['environment']['device']} ({record['protocol']})",
        f"features: {_where(record['features'])}",
    ]
    if record.get("transform", "centre") != "centre":
        lines.append(f"transform, fitted on the training rows: {record['transform']}")
    if record.get("labels"):
        used = record["labels"]
        lines.append(
            f"labels of {used['path']} (version {used['version']}): {used['corrected']:,} "
            f"corrected, {used['dropped']:,} rows left out; queries and gallery keep the "
            "store's labels"
        )
    if noise is not None:
        nominal = noise["nominal_rate"]
        lines.append(
            f"noise {noise['spec']}: {percent(noise['realised_rate'])} % of labels changed"
            + ("" if nominal is None else f", nominal {percent(nominal)} %")
        )
    rate = selection["noise_rate"]
    if rate is not None:
        lines.append(
            f"taken for wrong: {selection['dropped']:,} labels (noise rate {percent(rate)} %)"
        )
    elif selection["dropped"]:
        lines.append(f"rows that count by less than half: {selection['dropped']:,}")
    found = selection["detection"]
    if found is not None and found["auc"] is not None and selection["dropped"]:
        lines.append(
            f"of the wrong labels {percent(found['recall'])} % were found; of those "
            f"{'taken for wrong' if rate is not None else 'rows'} {percent(found['precision'])} % "
            f"were wrong; AUC {found['auc']:.3f}"
        )
    if record["loss"]:
        facts = (f"{name.replace('_', ' ')} {value:.3g}" for name, value in record["loss"].items())
        lines.append("the loss, over all training rows: " + ", ".join(facts))
    if record["validation"]:
        looked = record["validation"]
        lines.append(
            f"validation on {_held_out(looked)}: MAP@R "
            f"{percent(looked['selected_map@r'])} % after epoch {looked['selected_epoch']}, the "
            f"best, {percent(looked['last_map@r'])} % after the last"
        )
    if record["resumed_at_epoch"]:
        lines.append(f"went on from epoch {record['resumed_at_epoch']}, where it was interrupted")
    return lines


def _where(held: Mapping[str, Any]) -> str:
    """Say where the features were, and why they were not on the device."""
    if held["held"] == "resident":
        return str(held["held"])
    needed, limit = (held[name] / 1e9 for name in ("needed_bytes", "memory_bytes"))
    return f"{held['held']} (they need {needed:.3g} GB, --memory {limit:.3g} GB)"


def probe_table(moments: Sequence[Moment]) -> Table:
    """Lay out whose pairs a loss listened to over training, in percent."""
    table = figures_table("epochs done", "pull", "wrong pairs", "push", "wrong pairs")
    for moment in moments:
        shares = (
            moment.wrong_pull,
            moment.wrong_positives,
            moment.wrong_push,
            moment.wrong_negatives,
        )
        table.add_row(str(moment.epoch), *map(percent, shares))
    return table


PROBE_NOTE = (
    "pull: share of the loss's weight on pairs of one label that falls on pairs of different true "
    "classes; push: of the weight on pairs of different labels, on pairs of one true class; wrong "
    "pairs: the same shares with every pair alike; percent"
)


def catalogue_table(entries: Iterable[Entry]) -> Table:
    """List names with one line each and the options with their defaults."""
    table = Table("name", "what it is", "options", box=None, pad_edge=False, show_edge=False)
    for entry in entries:
        options = [
            f"{option.name}={'?' if option.is_required else option.default}"
            + (f" ({option.bounds})" if option.bounds else "")
            for option in entry.options.values()
        ]
        table.add_row(Text(entry.name, style="bold"), entry.summary, Text("\n".join(options)))
    return table


def recipe_table(recipes: Mapping[str, Recipe]) -> Table:
    """List recipes with the loss and selection that they pair, then families of losses."""
    table = Table(box=None, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    for title in ("what it is", "loss", "selection"):
        table.add_column(title)
    for name, recipe in {**recipes, **FAMILIES}.items():
        parts = (recipe.summary, recipe.loss or recipe.form or "-", recipe.selection)
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


def figures_table(first: str, *others: str) -> Table:
    """Begin a table of names and figures; columns that do not fit are folded."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _flat(facts: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and len(value) > 12:
            yield f"{prefix}{name}", f"{len(value)} values, last {_listed(value[-1:])}"
        elif isinstance(value, list | Mapping):
            yield f"{prefix}{name}", _listed(list(value))
        else:
            yield f"{prefix}{name}", value


def _listed(values: list[Any]) -> str:
    """Write plain values with commas, and rows of named ones a line each."""
    if values and isinstance(values[0], Mapping):
        return "\n".join(": ".join(map(str, row.values())) for row in values)
    return ", ".join(map(str, values)) or "none"


def _held_out(looked: Mapping[str, Any]) -> str:
    """Name the rows that validate."""
    if looked["rows"] == "split":
        return "the split val"
    return f"held-out {looked['rows']}, fold {looked['fold']} of {looked['folds']}"
