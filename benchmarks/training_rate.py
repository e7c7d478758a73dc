"""Claim: one run, and more so 16 runs together, train faster than the usual loop.

How many times as fast each is measured, not asserted. On a CPU with two cores the targets are 2 x
for one run and 3 x for 16; benchmarks/README.md says which of them were met. Three ways to train on
the same random features, which are in memory, on the same device:

- `usual`: what one writes with pytorch-metric-learning: its loss (and for Multi-Similarity its
  miner), its MPerClassSampler (for Proxy-Anchor a shuffle), a DataLoader over a TensorDataset, a
  linear head, `loss.backward()` and torch.optim.AdamW, one run;
- `alone`: one run of our program;
- `together`: R runs of our program with their own seeds, learning rates and margins, in the way of
  `dml ablate`: each on a core of its own on a CPU, as one program over stacked tensors on a GPU.
  `--way together` stacks them on a CPU, too.

Every round measures each way once, in an order of its own, and a ratio is one of the same round.
Drawing the batches of an epoch is part of our time. A run-step is one step of one run, from row
numbers to new weights. `arithmetic` is the time that the step's matrix products take by themselves
on as many cores as there are, as products of the same shapes are measured in this process: the
limit of any program in float32.

    uv run python benchmarks/training_rate.py

writes benchmarks/results/training_rate.json: command, sizes, versions, hardware, n, quartiles.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import numpy as np
import torch
from _report import add_machine, add_sizes, head, parser_of, write
from pytorch_metric_learning import losses, miners, samplers
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from pipeline.choices.assembly import method_of, schedule_of
from pipeline.choices.settings import Settings
from pipeline.program.learner import Learner, Task, begin
from pipeline.program.loop import Program, Way

ROWS_PER_CLASS = 4
WARM_UP = 5  # steps of the usual loop that are not timed
DEFAULTS = {
    "rows": (20_000, "N"),
    "classes": (4_000, "C"),
    "features": (2048, "F"),
    "dim": (512, "D"),
    "batch": (64, "B"),
    "runs": (16, "R"),
    "steps": (100, "steps of each run in a round"),
    "rounds": (5, "rounds"),
}
SETTINGS = ("way", "threads", "device")
OPTION = {"multi-similarity": "loss.base", "proxy-anchor": "loss.margin"}  # differs between runs
Cell = dict[str, Any]


def main() -> None:
    """Measure both losses, print the table and write the result file."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    features, labels = random_rows(arguments, device)
    report = {
        **head(__doc__, arguments.device),
        "sizes": {name: getattr(arguments, name) for name in (*DEFAULTS, *SETTINGS)},
        "cells": [measure(loss, features, labels, arguments) for loss in OPTION],
    }
    write(arguments.out, report)
    print(table(report["cells"], arguments))


def measure(loss: str, features: Tensor, labels: Tensor, arguments: argparse.Namespace) -> Cell:
    """Measure the run-steps a second of each way with one loss."""
    one = program(loss, features, labels, 1, arguments)
    many = program(loss, features, labels, arguments.runs, arguments)
    usual = usual_steps(loss, features, labels, arguments)
    ways: dict[str, Callable[[], float]] = {
        "usual": lambda: seconds_of_usual(usual, arguments.steps, features.device),
        "alone": lambda: seconds_of(one, features.device),
        "together": lambda: seconds_of(many, features.device) / arguments.runs,
    }
    for way in ways.values():
        way()  # whatever is loaded, recorded or allocated at first
    rates: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    for number in range(arguments.rounds):
        random.Random(number).shuffle(order)
        for name in order:
            rates[name].append(arguments.steps / ways[name]())
    quartiles = {name: quartiles_of(values) for name, values in rates.items()}
    ratios = {
        name: quartiles_of(
            [ours / theirs for ours, theirs in zip(values, rates["usual"], strict=True)]
        )
        for name, values in rates.items()
    }
    apart = [both / single for both, single in zip(rates["together"], rates["alone"], strict=True)]
    return {
        "loss": loss,
        "run_steps_per_second": quartiles,
        "ratio_to_usual": ratios,
        "together_to_one_after_the_other": quartiles_of(apart),
        "arithmetic_run_steps_per_second": round(1 / arithmetic(loss, arguments), 1),
        "n": arguments.rounds,
    }


def program(
    loss: str, features: Tensor, labels: Tensor, runs: int, arguments: argparse.Namespace
) -> Program:
    """Begin R runs that differ in seed, learning rate and one option of the loss.

    A run that is alone takes its steps in the device's way; several, in the way that was asked for.
    """
    common = Settings(
        loss=loss, selection="none", batch_size=arguments.batch, dim=arguments.dim, epochs=1000
    )
    learners = []
    for run in range(runs):
        option = {OPTION[loss]: 0.1 + 0.4 * run / max(1, runs)}
        settings = common.replaced(seed=run, lr=1e-3 * (1 + run / 8), options=option).check()
        parts = method_of(settings), schedule_of(settings), settings.seeds
        learner = begin(features, Task(labels, arguments.classes, *parts))
        learners.append(shortened(learner, arguments.steps))
    return Program(features, learners, way=arguments.way if runs > 1 else None)


def shortened(learner: Learner, steps: int) -> Learner:
    """Let a run draw whole epochs and train the first steps of them."""
    draw = learner.draw_batches
    learner.draw_batches = lambda: draw()[:steps]  # type: ignore[method-assign]
    return learner


def seconds_of(runs: Program, device: torch.device) -> float:
    """Train the steps of one epoch."""
    begun = time.perf_counter()
    runs.epoch()
    wait_for(device)
    return time.perf_counter() - begun


def usual_steps(
    loss: str, features: Tensor, labels: Tensor, arguments: argparse.Namespace
) -> Iterator[None]:
    """Train one run as one usually does, a step for each `next`."""
    head = torch.nn.Linear(arguments.features, arguments.dim).to(features.device)
    groups: list[dict[str, Any]] = [{"params": head.parameters()}]
    sampler = miner = None
    if loss == "multi-similarity":
        function, miner = losses.MultiSimilarityLoss(), miners.MultiSimilarityMiner()
        size, length = arguments.batch, len(labels)
        sampler = samplers.MPerClassSampler(labels.cpu(), ROWS_PER_CLASS, size, length)
    else:
        function = losses.ProxyAnchorLoss(arguments.classes, arguments.dim).to(features.device)
        groups.append({"params": function.parameters(), "lr": 1e-2, "weight_decay": 0.0})
    rows = DataLoader(
        TensorDataset(features, labels),
        batch_size=arguments.batch,
        sampler=sampler,
        shuffle=sampler is None,
        drop_last=True,
    )
    optimiser = torch.optim.AdamW(groups, lr=1e-3, weight_decay=1e-4)
    while True:
        for batch, of_batch in rows:
            embeddings = head(batch)
            pairs = (miner(embeddings, of_batch),) if miner else ()
            optimiser.zero_grad()
            function(embeddings, of_batch, *pairs).backward()
            optimiser.step()
            yield


def seconds_of_usual(steps: Iterator[None], count: int, device: torch.device) -> float:
    """Take steps of the usual loop."""
    for _ in range(WARM_UP):
        next(steps)
    wait_for(device)
    begun = time.perf_counter()
    for _ in range(count):
        next(steps)
    wait_for(device)
    return time.perf_counter() - begun


def arithmetic(loss: str, arguments: argparse.Namespace) -> float:
    """Measure the seconds of one run-step's matrix products, each core with products of its own."""
    batch, features, dim = arguments.batch, arguments.features, arguments.dim
    shapes = [(batch, features, dim), (features, batch, dim)]  # the head, forward and its gradient
    if loss == "proxy-anchor":
        classes = arguments.classes
        shapes += [(batch, dim, classes), (batch, classes, dim), (classes, batch, dim)]
    else:
        shapes += [(batch, dim, batch), (batch, batch, dim), (batch, batch, dim)]
    device = torch.device(arguments.device)
    pairs = [
        (torch.randn(rows, inner, device=device), torch.randn(inner, columns, device=device))
        for rows, inner, columns in shapes
    ]
    cores = arguments.threads if device.type == "cpu" else 1

    def work(_: int) -> None:
        for _ in range(arguments.steps):
            for left, right in pairs:
                left @ right

    torch.set_num_threads(1)
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(work, range(cores)))
        wait_for(device)
        begun = time.perf_counter()
        list(pool.map(work, range(cores)))
        wait_for(device)
        seconds = time.perf_counter() - begun
    torch.set_num_threads(arguments.threads)
    return seconds / (cores * arguments.steps)


def random_rows(arguments: argparse.Namespace, device: torch.device) -> tuple[Tensor, Tensor]:
    """Draw features (N, F) and labels (N,), every class with a row or more."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(arguments.rows, arguments.features, generator=generator)
    labels = torch.randint(arguments.classes, (arguments.rows,), generator=generator)
    labels[: arguments.classes] = torch.arange(arguments.classes)
    return features.to(device), labels.to(device)


def wait_for(device: torch.device) -> None:
    """Wait until the device is through."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def quartiles_of(values: list[float]) -> list[float]:
    """Compute the quartiles, the median in the middle."""
    return [round(float(each), 2) for each in np.quantile(values, (0.25, 0.5, 0.75))]


def table(cells: list[Cell], arguments: argparse.Namespace) -> str:
    """Lay out the cells as Markdown."""
    lines = ["| loss | way | run-steps a second (quartiles) | x usual | of the arithmetic |"]
    lines.append("|---" * 5 + "|")
    for cell in cells:
        for way, (low, median, high) in cell["run_steps_per_second"].items():
            name = f"{arguments.runs} runs together" if way == "together" else way
            share = median / cell["arithmetic_run_steps_per_second"]
            ratio = cell["ratio_to_usual"][way][1]
            row = [cell["loss"], name, f"{median:.1f} ({low:.1f}-{high:.1f})", f"{ratio:.2f}"]
            lines.append(f"| {' | '.join([*row, f'{share:.0%}'])} |")
    for cell in cells:
        ratio = cell["together_to_one_after_the_other"][1]
        lines.append(f"\n{cell['loss']}: together {ratio:.2f} x one run after the other.")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("training_rate", __doc__)
    add_sizes(parser, DEFAULTS)
    parser.add_argument("--way", choices=get_args(Way), help="of R runs; default: the device's")
    add_machine(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
