"""Claim: at the size of Stanford Online Products no step holds a C x C or an N x N matrix.

Times every loss on all rows (selection `none`) and every recipe with its selection, one run each,
on random features, and measures the process's peak memory beside the features, what `start` leaves
allocated included. (tests/contracts/test_allocations.py asserts it of every single tensor.) `start`
is done once: the selection's and the loss's first look at all rows. `epoch` begins every later one:
their look at the embedded rows, and drawing the batches. `step` is done for every batch: embed,
select, loss, gradient, AdamW. The row `floor` is the same program with a dot product as its loss,
so what lies above it is the method's own; what plain torch takes for that stands below the table.

    uv run python benchmarks/step_cost.py

writes benchmarks/results/step_cost.json: command, sizes, versions, hardware, all figures. Every
method has a process of its own; the file is written after each, and what it holds is not measured
again. Options other than the defaults (`OPTIONS`) are named in the result and in the table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import torch
from _process import in_own_process, peak_bytes
from _report import add_machine, add_sizes, head, parser_of, write
from torch import Tensor

from pipeline.choices import catalogue
from pipeline.choices.assembly import method_of, schedule_of
from pipeline.choices.recipes import RECIPES
from pipeline.choices.settings import Settings
from pipeline.program.alone import Walk
from pipeline.program.learner import Learner, Task, begin
from pipeline.program.loop import Program
from pipeline.program.method import Method
from pipeline.selection import none

WARM_UP = 5  # steps that are not timed
OPTIONS = {
    "confidence": {"select.epochs": 1},  # of 20; five networks over 11,318 classes take long
    "prism-queue": {"select.noise_rate": 0.2},  # as published: given, not estimated
}
DEFAULTS = {
    "rows": (59_551, "N"),
    "classes": (11_318, "C, at most half of N"),
    "features": (2048, "F"),
    "dim": (512, "D"),
    "batch": (64, "B"),
    "steps": (30, "timed steps"),
}
Cell = dict[str, Any]
Result = TypeVar("Result")


def main() -> None:
    """Measure all methods, print the table and write the result file."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    if arguments.cell:
        print(json.dumps(measure(*arguments.cell, arguments)))
        return
    report = {
        **head(__doc__, arguments.device),
        "sizes": {name: getattr(arguments, name) for name in (*DEFAULTS, "threads", "device")},
    }
    cells = finished_cells(arguments.out, report)
    failed: list[str] = []
    for name, selection in chosen(arguments.methods):
        if any((cell["method"], cell["selection"]) == (name, selection) for cell in cells):
            continue
        try:
            cell = in_own_process("--cell", name, selection)
        except subprocess.CalledProcessError:
            failed.append(f"{name} + {selection}")
            continue
        cells.append(cell)
        print(f"{name} + {selection}: {cell['step_ms'][1]} ms a step", file=sys.stderr)
        write(arguments.out, {**report, "cells": cells})
    print(table(cells, report["sizes"]))
    if failed:
        sys.exit(f"not measured, see the errors above: {', '.join(failed)}")


def chosen(names: str | None) -> list[tuple[str, str]]:
    """List what to measure as (loss or recipe, selection); the floor is always among them."""
    known = [(name, "none") for name in catalogue.entries("losses")]
    known += [(name, recipe.selection) for name, recipe in RECIPES.items() if recipe.loss]
    every = {name for name, _ in known}
    wanted = every if names is None else {*names.split(",")}
    if not wanted <= every:
        sys.exit(f"unknown --methods {', '.join(wanted - every)}: see `dml list losses`")
    return [("floor", "none"), *[each for each in known if each[0] in wanted]]


def finished_cells(path: Path, report: Cell) -> list[Cell]:
    """Take over the cells of an earlier call, if it measured the same sizes on the same machine."""
    if not path.exists():
        return []
    earlier = json.loads(path.read_text(encoding="utf-8"))
    ours, theirs = report["environment"], earlier["environment"]
    is_same = all(ours[name] == theirs[name] for name in ("hardware", "python", "versions"))
    return list(earlier["cells"]) if is_same and earlier["sizes"] == report["sizes"] else []


def measure(name: str, selection: str, arguments: argparse.Namespace) -> Cell:
    """Measure one method in this process."""
    device = torch.device(arguments.device)
    options = OPTIONS.get(selection, {})
    settings = Settings(batch_size=arguments.batch, dim=arguments.dim)
    method = floor(arguments.batch)
    if name != "floor":
        settings = settings.replaced(loss=name, selection=selection, options=options).check()
        method = method_of(settings)
    warm_up(device)
    features, labels = random_rows(arguments, device)
    memory = Peak(device)
    task = Task(labels, arguments.classes, method, schedule_of(settings), settings.seeds)
    learner, start = timed(partial(begin, features, task), device)
    start_mb = memory.beyond_features()
    learner.look(features)
    index = learner.draw_batches().to(device)  # (steps, B)
    memory.forget()
    step_ms = time_steps(step_of(learner, features, index), arguments.steps, device)
    step_mb = memory.beyond_features()
    learner.losses.append(torch.zeros(()))  # an epoch is over, as far as `look` can tell
    look = timed(partial(learner.look, features), device)[1]
    draw = timed(learner.draw_batches, device)[1]
    plain = plain_step(features, arguments.dim, arguments.batch)
    return {
        "method": name,
        "selection": selection,
        "options": options,
        "rows_per_step": index.shape[1],
        "steps_per_epoch": index.shape[0],
        "start_s": round(start, 3),
        "look_s": round(look, 3),
        "draw_s": round(draw, 3),
        "step_ms": step_ms,
        "start_mb": start_mb,
        "step_mb": step_mb,
        "plain_step_ms": time_steps(plain, arguments.steps, device),
    }


def floor(batch_size: int) -> Method:
    """Make a method whose loss is a dot product with ones."""
    dot = SimpleNamespace(loss=lambda parameters, batch: batch.embeddings.sum(), SAMPLER="shuffle")
    return Method(dot, none, {}, {}, batch_size=batch_size, rows_per_class=1, bank="full")


def random_rows(arguments: argparse.Namespace, device: torch.device) -> tuple[Tensor, Tensor]:
    """Draw features (N, F) and labels (N,): 2 to about 14 rows a class, in SOP 2 to 12."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(arguments.rows, arguments.features, generator=generator).to(device)
    others = arguments.rows - 2 * arguments.classes
    drawn = torch.randint(arguments.classes, (others,), generator=generator)
    labels = torch.cat([torch.arange(arguments.classes).repeat(2), drawn])
    return features, labels[torch.randperm(len(labels), generator=generator)].to(device)


def warm_up(device: torch.device) -> None:
    """Have torch load what it loads at its first step, so that nobody's figures hold it."""
    settings = Settings(epochs=1, dim=2)
    rows, labels = torch.randn(4, 3, device=device), torch.zeros(4, dtype=int, device=device)
    learner = begin(rows, Task(labels, 1, floor(2), schedule_of(settings), settings.seeds))
    Program(rows, [learner]).epoch()


def time_steps(step: Callable[[int], None], count: int, device: torch.device) -> list[float]:
    """Take steps, numbered from 0: milliseconds at the quartiles."""
    seconds = [timed(partial(step, number), device)[1] for number in range(WARM_UP + count)]
    return [round(1000 * each, 3) for each in np.quantile(seconds[WARM_UP:], (0.25, 0.5, 0.75))]


def step_of(learner: Learner, features: Tensor, index: Tensor) -> Callable[[int], None]:
    """Make a step as the program takes them alone, over batches (steps, B), again and again."""
    walk = Walk(learner, len(index))

    def step(number: int) -> None:
        at = number % len(index)
        walk.step(features, index[at], at)

    return step


def plain_step(features: Tensor, dim: int, batch_size: int) -> Callable[[int], None]:
    """Make the step of the floor without the program: one run, in-built AdamW in one kernel."""
    head = torch.nn.Linear(features.shape[1], dim).to(features.device)
    optimiser = torch.optim.AdamW(head.parameters(), fused=True)

    def step(number: int) -> None:
        optimiser.zero_grad()
        torch.nn.functional.normalize(head(features[:batch_size])).sum().backward()
        optimiser.step()

    return step


def timed(work: Callable[[], Result], device: torch.device) -> tuple[Result, float]:
    """Do some work: its result, and the seconds until the device is through."""
    begun = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - begun


class Peak:
    """The most memory that this process has held, beyond what it holds at the start."""

    def __init__(self, device: torch.device) -> None:
        """Take what has been held until now as the features and the libraries."""
        self.device, self.can_forget = device, True
        self.features = self._bytes()

    def beyond_features(self) -> int | None:
        """Read the peak since the latest `forget` in MB; None where the system cannot forget."""
        return round((self._bytes() - self.features) / 1e6) if self.can_forget else None

    def forget(self) -> None:
        """Let the peak begin anew from what is held now."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Linux only
        except OSError:
            self.can_forget = False

    def _bytes(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return peak_bytes()


def table(cells: list[Cell], sizes: Cell) -> str:
    """Lay out the cells as Markdown, the cheapest step first."""
    lines = [
        "| method + selection | step, ms (quartiles) | in steps, MB | epoch, s | start, s | MB |"
    ]
    lines.append("|---" * 6 + "|")
    for cell in sorted(cells, key=lambda cell: cell["step_ms"][1]):
        options = ", ".join(f"{key}={value}" for key, value in cell["options"].items())
        name = f"{cell['method']} + {cell['selection']}" + (f" ({options})" if options else "")
        low, median, high = cell["step_ms"]
        row = [
            name.removesuffix(" + none"),
            f"{median:.1f} ({low:.1f}-{high:.1f})",
            "unknown" if cell["step_mb"] is None else str(cell["step_mb"]),
            f"{cell['look_s'] + cell['draw_s']:.1f}",
            f"{cell['start_s']:.1f}",
            str(cell["start_mb"]),
        ]
        lines.append(f"| {' | '.join(row)} |")
    c_by_c, n_by_n = (4 * sizes[name] ** 2 / 1e6 for name in ("classes", "rows"))
    plain = np.median([cell["plain_step_ms"][1] for cell in cells])
    lines.append(
        f"\nThe floor's step in plain torch: {plain:.1f} ms. Memory is beside the features "
        f"({4 * sizes['rows'] * sizes['features'] / 1e6:,.0f} MB); in float32 one C x C matrix "
        f"takes {c_by_c:,.0f} MB, one N x N matrix {n_by_n:,.0f} MB."
    )
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("step_cost", __doc__)
    parser.add_argument("--methods", help="losses and recipes, separated by commas; default: all")
    add_sizes(parser, DEFAULTS)
    add_machine(parser)
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)  # method, selection
    return parser.parse_args()


if __name__ == "__main__":
    main()
