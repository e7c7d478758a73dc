"""The table of an ablation: for the terminal, as Markdown, as LaTeX, and as plain values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Literal

from pipeline.ablation.summary import Estimate, Line, Summary
from pipeline.choices.grid import CLEAN, UNTRAINED
from pipeline.measures.comparison import Difference
from pipeline.output.present import figures_table, percent
from pipeline.runs.results import SELECTED

Format = Literal["text", "markdown", "latex"]
_MARKED = "*"  # the options that validation prefers


def ablation_lines(summary: Summary, layout: Format = "text") -> list[Any]:
    """Lay out a summary, with notes on how to read it."""
    return {"text": _text, "markdown": _markdown, "latex": _latex}[layout](summary)


def ablation_cells(summary: Summary) -> tuple[list[str], list[tuple[str, list[list[str]]]]]:
    """Lay out the headings, and for each protocol and noise its name and the cells of its lines."""
    blocks = [
        (noise, [[_name(line), *_figures(summary, line)] for line in block])
        for noise, block in _blocks(summary)
    ]
    return _headings(summary), blocks


def ablation_notes(summary: Summary) -> list[str]:
    """Say what stands in the table, a sentence each."""
    return _notes(summary)


def failure_line(failures: Sequence[str], cells: int) -> str:
    """Say in one line what failed."""
    rest = f" (and {len(failures) - 1} more: see the table)" if len(failures) > 1 else ""
    return f"{len(failures)} of {cells} cells failed: {failures[0]}{rest}"


def ablation_json(summary: Summary) -> dict[str, Any]:
    """Write a summary as plain values; metrics, differences and rates in percent, AUC in [0, 1]."""
    return {
        "metric": summary.metric,
        "baseline": summary.baseline,
        "store": summary.store,
        "lines": [_line_json(line) for line in summary.lines],
    }


def _line_json(line: Line) -> dict[str, Any]:
    facts = asdict(line)
    for name in ("value", "difference", "selected"):
        facts[name] = _spread_json(getattr(line, name))
    for name in ("realised", "validation"):
        facts[name] = _hundredfold(facts[name])
    return facts


def _spread_json(value: Estimate | Difference | None) -> dict[str, float | None] | None:
    if value is None:
        return None
    return {"mean": _hundredfold(value.mean), "interval": _hundredfold(value.half)}


def _hundredfold(share: float | None) -> float | None:
    return None if share is None or math.isnan(share) else 100 * share


def _text(summary: Summary) -> list[Any]:
    """Lay out one table for each protocol and noise."""
    lines: list[Any] = []
    for noise, block in _blocks(summary):
        table = figures_table(*_headings(summary))
        for line in block:
            table.add_row(_name(line), *_figures(summary, line))
        lines += [f"labels {noise}", table, ""]
    return [*lines, *_notes(summary)]


def _markdown(summary: Summary) -> list[str]:
    headings = [_in_markdown(text) for text in ("labels", *_headings(summary))]
    rows = [headings, ["---", "---", *["---:"] * (len(headings) - 2)]]
    for noise, block in _blocks(summary):
        for line in block:
            cells = [noise, _name(line), *_figures(summary, line)]
            rows.append([_in_markdown(text) for text in cells])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [*lines, "", *(_in_markdown(note) for note in _notes(summary))]


def _latex(summary: Summary) -> list[str]:
    headings = ["labels", *_headings(summary)]
    lines = [r"\begin{tabular}{ll" + "r" * (len(headings) - 2) + "}", r"\hline"]
    lines += [_latex_row(headings), r"\hline"]
    for noise, block in _blocks(summary):
        lines += [_latex_row([noise, _name(line), *_figures(summary, line)]) for line in block]
        lines.append(r"\hline")
    return [*lines, r"\end{tabular}", *(f"% {note}" for note in _notes(summary))]


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_in_latex, cells)) + r" \\"


def _blocks(summary: Summary) -> Iterable[tuple[str, list[Line]]]:
    """Group the lines by protocol and noise, and name the groups."""
    blocks: dict[tuple[str, str], list[Line]] = {}
    for line in summary.lines:
        blocks.setdefault((line.protocol, line.noise), []).append(line)
    has_several = len({protocol for protocol, _ in blocks}) > 1
    for (protocol, noise), block in blocks.items():
        name = "as given" if noise == CLEAN else f"{noise} ({percent(block[0].realised)} % changed)"
        yield (f"{protocol}, {name}" if has_several else name), block


def _has_validation(summary: Summary) -> bool:
    return any(line.validation is not None for line in summary.lines)


def _has_selected(summary: Summary) -> bool:
    """Tell whether the selected epoch has a column of its own, beside the last epoch's."""
    return _has_validation(summary) and not summary.metric.startswith(SELECTED)


def _headings(summary: Summary) -> list[str]:
    selected = ["selected"] if _has_selected(summary) else []
    validation = ["val map@r"] if _has_validation(summary) else []
    metric = summary.metric.removeprefix(SELECTED)
    return ["method", metric, "difference", *selected, *validation, "AUC", "seconds"]


def _name(line: Line) -> str:
    name = " ".join(filter(None, [line.method, line.options]))
    return f"{name} {_MARKED}" if line.is_preferred else name


def _figures(summary: Summary, line: Line) -> list[str]:
    """Write the figures of one line, in the order of the headings behind `method`."""
    value = "failed" if line.value is None else _spread(line.value, "")
    figures = [value, _spread(line.difference, "+")]
    if _has_selected(summary):
        figures.append(_spread(line.selected, ""))
    if _has_validation(summary):
        figures.append(percent(line.validation))
    auc = "-" if line.auc is None else f"{line.auc:.3f}"
    return [*figures, auc, "-" if line.seconds is None else f"{line.seconds:.1f}"]


def _spread(value: Estimate | Difference | None, sign: Literal["", "+"]) -> str:
    """Write a mean in percent and its interval, if it has one."""
    if value is None:
        return "-"
    mean = f"{100 * value.mean:{sign}.1f}"
    return mean if math.isnan(value.half) else f"{mean} ± {100 * value.half:.1f}"


def _notes(summary: Summary) -> list[str]:
    """Say what stands in the table."""
    counts = sorted(
        {line.seeds for line in summary.lines if line.method != UNTRAINED and line.value}
    )
    seeds = " to ".join(map(str, counts[:1] + counts[1:][-1:])) or "no"
    seeds += " seed" if counts == [1] else " seeds"
    interval = "mean ± 95 % interval over" if counts[-1:] > [1] else "mean over"
    when = "selected" if summary.metric.startswith(SELECTED) else "last"
    notes = [
        f"{summary.metric.removeprefix(SELECTED)} in percent, {when} epoch, {interval} {seeds}; "
        f"difference: to {summary.baseline}, paired by seed; AUC: of finding the wrong labels, 0.5 "
        f"where a method judges none; store {summary.store[:12]}"
    ]
    if _has_validation(summary):
        selected = "selected: at the epoch that validation prefers; "
        notes.append(
            f"{selected if _has_selected(summary) else ''}val map@r: on validation rows at that "
            "epoch, with labels as a user has them, wrong ones included"
        )
    if any(line.is_preferred for line in summary.lines):
        notes.append(
            f"{_MARKED}: the options that validation MAP@R prefers, mean over seeds; the test rows "
            "were not used to choose"
        )
    failures = {f"{_name(line)}: {line.failure}" for line in summary.lines if line.failure}
    return [*notes, *(f"failed: {text}" for text in sorted(failures))]


def _in_markdown(text: str) -> str:
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}


def _in_latex(text: str) -> str:
    escaped = "".join(_LATEX.get(letter, letter) for letter in text)
    return re.sub(r"^-(?=\d)", "$-$", escaped)  # a minus is longer than a hyphen
