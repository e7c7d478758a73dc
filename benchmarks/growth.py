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
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from pipeline.choices.assembly import method_of, schedule_of
from pipeline.choices.settings import Settings
from pipeline.program.learner import Task, begin
from pipeline.program.loop import Program
from pipeline.runs import provenance

FEATURES, DIM = 512, 128
POINTS: dict[str, tuple[int, ...]] = {
    "rows": (1_000, 10_000, 100_000, 1_000_000),
    "runs": (1, 4, 16, 64),
    "classes": (1_000, 4_000, 16_000, 32_000),
}
FIXED = {"rows": "1 run", "runs": "10,000 rows each", "classes": "128,000 rows, 1 run"}
Cell = dict[str, Any]


def main() -> None:
    """Measure every point, draw the plot and write the result."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    if arguments.cell:
        kind, size = arguments.cell
        print(json.dumps(measure(kind, int(size), arguments.device)))
        return
    cells = [in_own_process(kind, size) for kind, sizes in POINTS.items() for size in sizes]
    report = {
        "claim": __doc__.splitlines()[0] if __doc__ else "",
        "command": "uv run python " + " ".join(sys.argv),
        "sizes": {"features": FEATURES, "dim": DIM, "threads": arguments.threads},
        "environment": provenance.environment(torch.device(arguments.device)),
        "cells": cells,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    plot(cells, arguments.out.with_suffix(".svg"))
    print(table(cells))


def in_own_process(kind: str, size: int) -> Cell:
    """Measure one point in a process whose peak memory is its own."""
    command = [sys.executable, *sys.argv, "--cell", kind, str(size)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(answer.stdout))


def measure(kind: str, size: int, on: str) -> Cell:
    """Measure one point in this process."""
    rows = {"rows": size, "runs": 10_000, "classes": 128_000}[kind]
    runs = size if kind == "runs" else 1
    classes = size if kind == "classes" else rows // 10
    loss = "proxy-anchor" if kind == "classes" else "multi-similarity"
    epoch(loss, 64, 4, 2, on)()  # whatever is loaded at first
    before = peak_bytes(on)
    work = epoch(loss, rows, classes, runs, on)
    begun = time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    return {
        "kind": kind,
        "size": size,
        "seconds": round(seconds, 4),
        "peak_mb": round((peak_bytes(on) - before) / 1e6, 1),
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


def peak_bytes(on: str) -> int:
    """Read the most memory that this process has held."""
    if on == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def plot(cells: list[Cell], path: Path) -> None:
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
        axis.set_title(FIXED[kind], fontsize=9)
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--largest", type=int, default=1_000_000, help="leave out larger points")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/growth.json"))
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)  # kind, size
    return parser.parse_args()


if __name__ == "__main__":
    main()
