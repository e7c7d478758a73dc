"""What `dml noise` prints: overlays as facts, estimates beside what is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from pipeline.output.present import percent

if TYPE_CHECKING:
    from pipeline.labels.estimation import Estimate

_LISTED = 10
ESTIMATE_NOTE = (
    "percent; the estimate assumes symmetric noise: labels mixed up among alike classes are "
    "underestimated, and so are the shares of single pairs; expected: what the known injected "
    "noise has to come to; matrix off by: labels that the estimated transition matrix puts into "
    "wrong cells"
)


def overlay_lines(path: str, facts: Mapping[str, Any]) -> list[str]:
    """Say what an overlay is and does, and list its first flipped rows."""
    flipped = facts["flipped"]
    lines = [
        f"{path}: {facts['noise']}, seed {facts['seed']}; {facts['rows']:,} rows, "
        f"{len(flipped):,} labels changed",
        f"changed labels: {_nominal(facts['nominal_rate'])}"
        f"realised {percent(facts['realised_rate'])} %",
        f"classes: {facts['given_classes']:,} given, {len(facts['classes']):,} now"
        f"{_changes(facts)}",
        f"manifest {facts['manifest'][:12]} ({facts['protocol']}), features {facts['features']}, "
        f"dml {facts['dml']}, format {facts['format']}",
    ]
    if facts["most_frequent"]:
        pairs = (
            f"{p['given_label']} -> {p['label']} ({p['rows']})" for p in facts["most_frequent"]
        )
        lines.append("most frequent: " + ", ".join(pairs))
    lines += [f"  {row['id']}: {row['given_label']} -> {row['label']}" for row in flipped[:_LISTED]]
    if len(flipped) > _LISTED:
        lines.append(f"  ... all of them: dml noise describe {path} --json")
    return lines


def estimate_json(found: Estimate) -> dict[str, Any]:
    """Write an estimate as plain values; rates and shares are 0 to 1."""
    confusions = [confusion._asdict() for confusion in found.confusions]
    return {**asdict(found), "confusions": confusions}


def estimate_lines(store: str, found: Estimate) -> list[Any]:
    """Lay out the estimate, its error on known noise, and the classes that are mixed up."""
    known = (
        "" if found.known_rate is None else f" (by the right labels {percent(found.known_rate)} %)"
    )
    lines: list[Any] = [
        f"{store}: {found.rows:,} rows of {found.classes:,} classes",
        f"wrong labels, estimated: {percent(found.noise_rate)} %{known}",
        "",
        _trials(found),
        "",
    ]
    if not found.confusions:
        return [*lines, "no two classes are mixed up, as far as the features tell"]
    lines.append("most mixed up, by the estimated transition matrix:")
    for each in found.confusions:
        lines.append(f"  {percent(each.share)} % of {each.right} are labelled {each.given}")
    return lines


def _trials(found: Estimate) -> Table:
    """Lay out known noise and what was estimated of it, in percent."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name in ("injected on top", "expected", "estimated", "error", "matrix off by"):
        table.add_column(name, justify="right")
    for trial in found.trials:
        error = trial.estimated - trial.expected
        shares = (trial.injected, trial.expected, trial.estimated, error, trial.transition_error)
        table.add_row(*map(percent, shares))
    return table


def _nominal(rate: float | None) -> str:
    return "" if rate is None else f"nominal {percent(rate)} %, "


def _changes(facts: Mapping[str, Any]) -> str:
    parts = {
        "dissolved": len(facts["classes_gone"]),
        "new": len(facts["classes_new"]),
        "without rows": facts["empty_classes"],
    }
    return "".join(f", {count:,} {name}" for name, count in parts.items() if count)
