"""Claim: time and memory of training grow linearly with rows, runs and classes, and not faster.

Each point is a process of its own: seconds of one whole epoch (batches drawn, all steps taken)
and the most memory that it held beyond the libraries, features and labels included. Rows: one run
with Multi-Similarity over N random rows. Runs: R runs of it together. Classes: one run with
Proxy-Anchor over C classes, all with the same number of rows in all.

    uv run python benchmarks/growth.py

writes benchmarks/results/growth.json and the plot benchmarks/results/growth.svg. The slope of a
line in the plot is the exponent of growth: 1 is linear; less where a fixed part prevails.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from _process import in_own_process, peak_bytes
from _report import add_machine, head, parser_of, write

from pipeline.choices.assembly import method_of, schedule_of
from pipeline.choices.settings import Settings
from pipeline.program.learner import Task, begin
from pipeline.program.loop import Program

FEATURES, DIM = 512, 128
POINTS: dict[str, tuple[int, ...]] = {
    "rows": (1_000, 10_000, 100_000, 1_000_000),
    "runs": (1, 4, 16, 64),
    "classes": (1_000, 4_000, 16_000, 32_000),
}
ROWS = {"runs": 10_000, "classes": 128_000}  # where they stay the same from point to point
Cell = dict[str, Any]


def main() -> None:
    """Measure every point, draw the plot and write the result."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    if arguments.cell:
        kind, size = arguments.cell
        print(json.dumps(measure(kind, int(size), arguments)))
        return
    cells = [
        in_own_process("--cell", kind, str(size if kind == "runs" else size // arguments.shrink))
        for kind, sizes in POINTS.items()
        for size in sizes[: arguments.points]
    ]
    report = {
        **head(__doc__, arguments.device),
        "sizes": {
            "features": FEATURES,
            "dim": DIM,
            "shrink": arguments.shrink,
            "threads": arguments.threads,
        },
        "cells": cells,
    }
    write(arguments.out, report)
    plot(cells, arguments.out.with_suffix(".svg"), arguments.shrink)
    print(table(cells))


def measure(kind: str, size: int, arguments: argparse.Namespace) -> Cell:
    """Measure one point in this process."""
    on = arguments.device
    rows = ROWS[kind] // arguments.shrink if kind in ROWS else size
    runs = size if kind == "runs" else 1
    classes = size if kind == "classes" else rows // 10
    loss = "proxy-anchor" if kind == "classes" else "multi-similarity"
    epoch(loss, 64, 4, 2, on)()  # whatever is loaded at first
    before = most_bytes(on)
    work = epoch(loss, rows, classes, runs, on)
    begun = time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    return {
        "kind": kind,
        "size": size,
        "seconds": round(seconds, 4),
        "peak_mb": round((most_bytes(on) - before) / 1e6, 1),
    }


def epoch(loss: str, rows: int, classes: int, runs: int, on: str) -> Callable[[], None]:
    """Begin runs on random rows, and return what trains one epoch of them."""
    device = torch.device(on)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(rows, FEATURES, generator=generator).to(device)
    labels = (torch.arange(rows) % classes).to(device)
    settings = Settings(loss=loss, selection="none", batch_size=64, dim=DIM)
    method, schedule = method_of(settings), schedule_of(settings)
    tasks = [
        Task(labels, classes, method, schedule, settings.replaced(seed=run).seeds)
        for run in range(runs)
    ]
    program = Program(features, [begin(features, task) for task in tasks])

    def work() -> None:
        program.epoch()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return work


def most_bytes(on: str) -> int:
    """Read the most memory that this process has held, on the device."""
    return torch.cuda.max_memory_allocated() if on == "cuda" else peak_bytes()


def plot(cells: list[Cell], path: Path, shrink: int) -> None:
    """Draw seconds and memory over the size, with both axes logarithmic."""
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "dml"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(POINTS), figsize=(11, 3.4), layout="constrained")
    for axis, kind in zip(axes, POINTS, strict=True):
        own = [cell for cell in cells if cell["kind"] == kind]
        sizes = np.array([cell["size"] for cell in own])
        seconds = np.array([cell["seconds"] for cell in own])
        axis.loglog(sizes, seconds, "o-", label="seconds an epoch")
        axis.loglog(sizes, [cell["peak_mb"] / 1000 for cell in own], "s-", label="memory, GB")
        axis.loglog(sizes, seconds[-1] * sizes / sizes[-1], "k:", label="linear")
        axis.set_xlabel(kind)
        rows = f"{ROWS.get(kind, 0) // shrink:,} rows"
        fixed = {"rows": "1 run", "runs": f"{rows} each", "classes": f"{rows}, 1 run"}
        axis.set_title(fixed[kind], fontsize=9)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def table(cells: list[Cell]) -> str:
    """Lay out the points as Markdown, each with the growth since the one before."""
    lines = ["| | size | seconds an epoch | memory, MB | exponent of time |", "|---" * 5 + "|"]
    for before, cell in zip([None, *cells], cells, strict=False):
        exponent = ""
        if before is not None and before["kind"] == cell["kind"]:
            growth = np.log(cell["seconds"] / before["seconds"])
            exponent = f"{growth / np.log(cell['size'] / before['size']):.2f}"
        row = [cell["kind"], f"{cell['size']:,}", f"{cell['seconds']:.2f}", f"{cell['peak_mb']:,}"]
        lines.append(f"| {' | '.join([*row, exponent])} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("growth", __doc__)
    parser.add_argument("--points", type=int, default=4, help="only so many of each line")
    parser.add_argument("--shrink", type=int, default=1, help="divide all rows and classes by this")
    add_machine(parser)
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)  # kind, size
    return parser.parse_args()


if __name__ == "__main__":
    main()
