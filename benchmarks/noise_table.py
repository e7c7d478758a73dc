"""Claim: under label noise, methods that doubt labels beat methods that trust them.

Trains methods x noise rates x seeds on one feature store and prints Recall@1 (percent, mean and
95 % interval over seeds) at the last epoch, beside the untrained features. A method is a recipe, a
loss, or LOSS+SELECTION; by default every recipe, every loss and every selection is there. All have
one budget: the same head, epochs and learning rates. Noise is drawn anew per seed; queries and
gallery keep their true labels; noise rates are estimated, not given. All seeds of a cell train as
one batched program.

    uv run python benchmarks/noise_table.py --store grocery.zarr

writes benchmarks/results/noise_table.json: command, versions, hardware, every seed's figures. The
file is written after every cell, and cells that it holds already are not measured again; each
carries the revision that measured it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from _report import head, parser_of, write

from cache import FeatureStore
from cache.errors import InputError
from cache.store import Features
from pipeline.choices import catalogue
from pipeline.choices.recipes import RECIPES
from pipeline.choices.settings import Settings
from pipeline.evaluate import embedded, normalized, search
from pipeline.measures.detection import detection
from pipeline.measures.intervals import mean_and_interval
from pipeline.program.heads import embed
from pipeline.training.learn import learn
from pipeline.training.protocol import Split, split

# A loss for the selections that no recipe has.
COMPANION = "memory-contrastive"
RATES = (0.0, 0.2, 0.5)


def main() -> None:
    """Measure all cells, print the table and write the result file."""
    arguments = parse()
    features = FeatureStore.open(arguments.store).read()
    roles = split(features.rows)
    raw = torch.from_numpy(features.values)
    untrained = retrieval(raw, roles, normalized)
    store = FeatureStore.open(arguments.store).describe()
    report = {
        **head(__doc__),
        "store": {name: value for name, value in store.items() if name != "path"},
        "protocol": roles.protocol,
        "seeds": arguments.seeds,
        "epochs": arguments.epochs,
        "untrained": untrained,
    }
    cells = finished_cells(arguments.out, report)
    revision = report["environment"]["git"]
    for method in arguments.methods.split(",") if arguments.methods else every_method():
        for rate in RATES:
            if any((cell["method"], cell["rate"]) == (method, rate) for cell in cells):
                continue
            loss, _, selection = method.partition("+")
            settings = Settings(
                loss=loss,
                selection=selection or None,
                noise=f"symmetric:{rate}",
                epochs=arguments.epochs,
            )
            cell = measure(settings.check(), raw, features, roles, arguments.seeds)
            cells.append({"method": method, "rate": rate, "git": revision, **cell})
            print(
                f"{method} {rate}: {show(cell['recall@1'])} ({cell['seconds']} s)", file=sys.stderr
            )
            write(arguments.out, {**report, "cells": cells})
    print(table(untrained, cells))


def every_method() -> list[str]:
    """List the recipes, the losses without one, and the selections without one."""
    used = {recipe.selection for recipe in RECIPES.values()}
    rest = [name for name in catalogue.entries("selection") if name not in used]
    names = [*RECIPES, *catalogue.entries("losses"), *(f"{COMPANION}+{name}" for name in rest)]
    return [name for name in dict.fromkeys(names) if name != "none"]


def finished_cells(path: Path, report: dict[str, object]) -> list[dict[str, object]]:
    """Take over the cells of an earlier call, if it measured the same store in the same way."""
    if not path.exists():
        return []
    earlier = json.loads(path.read_text(encoding="utf-8"))
    is_same = all(earlier[name] == report[name] for name in ("store", "seeds", "epochs"))
    return list(earlier["cells"]) if is_same else []


def measure(
    settings: Settings, raw: torch.Tensor, features: Features, roles: Split, seeds: int
) -> dict[str, object]:
    """Train one method at one noise rate with all seeds at once."""
    begun = time.perf_counter()
    runs = [replace(settings, seed=seed) for seed in range(seeds)]
    learned = learn(raw, features, roles, runs)
    seconds = round(time.perf_counter() - begun, 1)
    found = []
    for run in learned:
        if isinstance(run, InputError):
            raise run
        quality = retrieval(raw, roles, lambda rows, run=run: embed(run.head, run.transform(rows)))
        wrong = run.labels.is_wrong
        if wrong is not None and wrong.any():
            scores, weights = run.state.scores.numpy(), run.state.weights.numpy()
            quality |= {"auc": detection(scores, weights == 0, wrong).auc}
        found.append(quality)
    names = found[0]
    return {"seconds": seconds, **{name: [each[name] for each in found] for name in names}}


def retrieval(
    raw: torch.Tensor, roles: Split, space: Callable[[torch.Tensor], torch.Tensor]
) -> dict[str, float]:
    """Evaluate one space of embeddings."""
    found = search(*embedded(raw, roles, space), roles, (1,), ()).average()
    return {"recall@1": found.recall[1], "map@r": found.map_at_r}


def show(values: object) -> str:
    """Write mean and 95 % interval in percent."""
    mean, half = mean_and_interval(np.asarray(values))
    return f"{100 * mean:.1f} ± {100 * half:.1f}"


def table(untrained: dict[str, float], cells: list[dict[str, object]]) -> str:
    """Lay out the cells as Markdown."""
    lines = ["| recall@1 | " + " | ".join(f"{100 * rate:.0f} % wrong" for rate in RATES) + " |"]
    lines.append("|---" * (len(RATES) + 1) + "|")
    raw = f"{100 * untrained['recall@1']:.1f}"
    lines.append(f"| untrained | {' | '.join([raw] * len(RATES))} |")
    rows = {cell["method"]: {} for cell in cells}
    for cell in cells:
        rows[cell["method"]][cell["rate"]] = cell["recall@1"]
    by_hardest = sorted(rows, key=lambda method: -float(np.mean(rows[method].get(RATES[-1], 0))))
    for method in by_hardest:
        row = [show(rows[method][rate]) if rate in rows[method] else "" for rate in RATES]
        lines.append(f"| {method} | {' | '.join(row)} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("noise_table", __doc__)
    parser.add_argument("--store", type=Path, default=Path("features.zarr"))
    parser.add_argument("--methods", help="separated by commas; default: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=asdict(Settings())["epochs"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
