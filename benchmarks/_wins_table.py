"""The table of `default_wins.py`: one row a method, its figures and what `auto` has above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cache.errors import InputError
from pipeline.measures.comparison import Difference, paired_difference
from pipeline.measures.intervals import mean_and_interval

ITSELF = "auto"
CLEAN, HARD = "0", "symmetric:0.5"
GOAL = 0.02  # of what clean labels give, at half of the labels wrong
_NOTHING = 1e-4  # half an interval that is rounding
_SHOWN = 5e-4  # a tenth of a point, rounded
Cell = dict[str, Any]


def merged(parts: Sequence[dict[str, Any]], facts: Sequence[str]) -> dict[str, Any]:
    """Put results of one set together; of two cells that are the same the later one stays.

    Args:
        parts: results, each with its cells.
        facts: what has to be equal in all of them.

    Raises:
        InputError: they are not of one set.
    """
    first, cells = parts[0], {}
    for part in parts:
        for name in facts:
            if part[name] != first[name]:
                raise InputError(f"these results differ in their {name}: merge those of one set")
        cells |= {(cell["method"], cell["noise"]): cell for cell in part["cells"]}
    sources = [{name: part[name] for name in ("command", "environment")} for part in parts]
    kept = {name: first[name] for name in facts}
    return {**kept, "parts": sources, "cells": list(cells.values())}


def table(cells: Sequence[Cell]) -> str:
    """Lay out the cells as Markdown, and say below where `auto` is beaten and what noise costs."""
    noises = list(dict.fromkeys(cell["noise"] for cell in cells))
    found = {(cell["method"], cell["noise"]): cell for cell in cells if cell["seeds"]}
    lines = [
        f"| recall@1 | {' | '.join(f'{noise} | {ITSELF} is above by' for noise in noises)} |",
        "|---" * (2 * len(noises) + 1) + "|",
    ]
    for method in _by_hardest(found, noises[-1]):
        words = [method]
        for noise in noises:
            words += _words(found.get((method, noise)), found.get((ITSELF, noise)))
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join([*lines, "", *_verdict(found, noises)])


def _by_hardest(found: dict[tuple[str, str], Cell], noise: str) -> list[str]:
    """Sort the methods by their figure under one noise, the best first."""
    methods = dict.fromkeys(method for method, _ in found)
    recall = {
        method: float(np.mean(found[method, noise]["recall@1"]))
        for method in methods
        if (method, noise) in found
    }
    return sorted(methods, key=lambda method: -recall.get(method, 0.0))


def _words(cell: Cell | None, best: Cell | None) -> list[str]:
    """Write a cell's figure and the difference to it."""
    if cell is None:
        return ["", ""]
    difference = above(best, cell)
    return [show(*mean_and_interval(np.array(cell["recall@1"]))), signed(difference)]


def above(cell: Cell | None, other: Cell) -> Difference | None:
    """Subtract another cell's figures from a cell's on equal seeds; None where it is the same."""
    if cell is None or cell is other:
        return None
    ours, others = (
        dict(zip(each["seeds"], each["recall@1"], strict=True)) for each in (cell, other)
    )
    return paired_difference(ours, others)


def _verdict(found: dict[tuple[str, str], Cell], noises: Sequence[str]) -> list[str]:
    lines = []
    for noise in noises:
        differences = {
            method: above(found.get((ITSELF, noise)), cell)
            for (method, at), cell in found.items()
            if at == noise and method != ITSELF
        }
        beaten = [
            f"{method} ({signed(each)})"
            for method, each in differences.items()
            if each is not None and each.mean + np.nan_to_num(each.half) < -_SHOWN
        ]
        if any(differences.values()):
            lines.append(f"{noise}: above {ITSELF}: {', '.join(beaten) or 'nothing'}")
    clean, hard = found.get((ITSELF, CLEAN)), found.get((ITSELF, HARD))
    if clean is not None and hard is not None:
        cost = above(clean, hard)
        lines.append(f"{HARD} costs {ITSELF} {signed(cost)} points; the goal is {100 * GOAL:.0f}")
    return lines


def signed(difference: Difference | None) -> str:
    """Write a difference in percent, with its sign."""
    if difference is None:
        return ""
    return f"{100 * difference.mean:+.1f}" + _half(difference.half)


def show(mean: float, half: float) -> str:
    """Write mean and 95 % interval in percent."""
    return f"{100 * mean:.1f}" + _half(half)


def _half(half: float) -> str:
    """Write an interval; none for one seed, or where all seeds are the same."""
    return f" ± {100 * half:.1f}" if half > _NOTHING else ""
