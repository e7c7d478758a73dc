"""What `--loss auto` tried and why it chose what it chose, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from pipeline.output.present import figures_table, percent

_SHOWN = 6  # candidates, beside the reference, the chosen one and no training
UNTRAINED = "no training"
_BY_TWO = "more by two standard errors, at rank 1 and in MAP@R"
_BY_THREE = "more by three standard errors, those at rank 1 and in MAP@R added up"


def choice_lines(choice: Mapping[str, Any]) -> Iterator[str | Table]:
    """Say what was chosen and why, then list the best of what was tried.

    Args:
        choice: of a run's record, see `pipeline.auto.choose.choice_facts`.
    """
    tried = [each for each in choice["tried"] if each["evidence"] is not None]
    count, waiting = len(tried), len(choice["tried"])
    chosen, reference = choice["chosen"], choice["reference"]
    yield (
        f"chosen: {chosen} (tried {count} of {waiting} ways in {choice['seconds']:.1f} s on "
        "held-out rows with the labels as given)"
    )
    if not tried:
        yield f"why: {_untried(chosen, reference)}"
        return
    if chosen == reference:
        yield f"why: nothing else found {_BY_TWO}"
    elif chosen == UNTRAINED:
        yield (
            f"why: against the raw features no head finds {_BY_THREE}: too few rows, or too few "
            "right labels"
        )
    else:
        is_mild = chosen.startswith(reference)  # the same but for its weights
        clearly = _BY_THREE if is_mild else _BY_TWO
        yield f"why: against {reference}, the usual choice, it finds {clearly}"
    table = figures_table("tried", "recall@1", "map@r", "errors above")
    for each in _shown(tried, chosen, reference):
        mark = "* " if each["name"] == chosen else "  "
        figures = percent(each["recall_at_1"]), percent(each["map_at_r"])
        table.add_row(mark + each["name"], *figures, f"{each['evidence']:+.1f}")
    yield table


def _untried(chosen: str, reference: str) -> str:
    if chosen == reference:
        return f"--budget 0 tries nothing, and {reference} is the usual choice"
    return "no class has two rows whose labels can be trusted, so no head can be shown to help"


def _shown(
    tried: list[Mapping[str, Any]], chosen: str, reference: str
) -> Iterator[Mapping[str, Any]]:
    """Choose what the table shows: the best by both measures, and what nobody may miss."""
    ranked = sorted(tried, key=lambda each: -(each["recall_at_1"] + each["map_at_r"]))
    musts = {chosen, reference, UNTRAINED}
    for place, each in enumerate(ranked):
        if place < _SHOWN or each["name"] in musts:
            yield each
