"""Claim: wrong labels can be told before any training.

Draws symmetric noise on the training labels of one feature store and lets every score judge them
from the frozen features alone: only `start` of the selections is called. Two figures, each as mean
and 95 % interval over seeds: AUC, the chance that a right label scores above a wrong one; and the
purity of the kept rows, when as many of lowest score are dropped as there are wrong labels. The
first row of the table is chance. No score is told the noise rate. Unit-norm centres and scale 16 of
`prism` were decided on photos of the same data set; the published form has nothing chosen on it.

    uv run python benchmarks/noise_detection.py --store grocery.zarr

writes benchmarks/results/noise_detection.json: command, versions, hardware, every seed's figures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from _report import head, parser_of, write
from numpy.typing import NDArray

from cache import FeatureStore
from cache.store import Features
from pipeline.choices import catalogue
from pipeline.choices.settings import Settings
from pipeline.labels.training import TrainingLabels, training_labels
from pipeline.measures.detection import detection
from pipeline.measures.intervals import mean_and_interval
from pipeline.program.rows import tiles
from pipeline.selection._state import drop_lowest
from pipeline.training.protocol import Split, split
from pipeline.transforms.fitting import fit

RATES = (0.2, 0.5)
FIGURES = {"AUC": "auc", "purity": "purity"}
PUBLISHED: dict[str, str | float] = {"centres": "raw", "scale": 1.0, "passes": 1}


class Score(NamedTuple):
    """A selection's score of labels: which selection, on which features, with which options."""

    selection: str
    options: dict[str, str | float]
    is_centred: bool = True


class Figure(TypedDict):
    """Mean over seeds, half width of its interval (None for one seed), and each seed's value."""

    mean: float
    interval: float | None
    seeds: list[float]


SCORES = {
    "PRISM (prism)": Score("prism", {}),
    "PRISM, published form, raw features": Score("prism", PUBLISHED, is_centred=False),
    "PRISM, published form, centred features": Score("prism", PUBLISHED),
    "von Mises-Fisher (prism-vmf)": Score("prism-vmf", {}),
    "kNN label share (knn)": Score("knn", {}),
    "density (curriculum)": Score("curriculum", {}),
    "out-of-fold confidence (confidence)": Score("confidence", {}),
}


def main() -> None:
    """Measure all cells, write the result file and print the table."""
    arguments = parse()
    store = FeatureStore.open(arguments.store)
    features = store.read()
    roles = split(features.rows)
    raw = torch.from_numpy(features.values[roles.train]).float()
    centred = fit("centre", lambda: tiles(raw))(raw)
    cells: list[dict[str, Any]] = []
    for rate in RATES:
        noisy = [noisy_labels(features, roles, rate, seed) for seed in range(arguments.seeds)]
        for name, score in SCORES.items():
            values = centred if score.is_centred else raw
            found = [measure(score, values, labels, seed) for seed, labels in enumerate(noisy)]
            cells.append({"score": name, **score._asdict(), "rate": rate, **summary(found)})
            print(f"{name}, {rate}: AUC {show(cells[-1]['auc'])}", file=sys.stderr)
    report = {
        **head(__doc__),
        "store": {name: value for name, value in store.describe().items() if name != "path"},
        "protocol": roles.protocol,
        "rows": len(raw),
        "seeds": list(range(arguments.seeds)),
        "cells": cells,
    }
    write(arguments.out, report)
    print(table(cells))


def noisy_labels(features: Features, roles: Split, rate: float, seed: int) -> TrainingLabels:
    """Draw the noise as a training run of that seed would."""
    return training_labels(roles, Settings(noise=f"symmetric:{rate}", seed=seed), features)


def measure(
    score: Score, values: torch.Tensor, labels: TrainingLabels, seed: int
) -> dict[str, float]:
    """Score the labels of the rows (N, F) and compare with the truth."""
    module = catalogue.find("selection", score.selection).load()
    state = module.start(
        values,
        torch.from_numpy(labels.used),
        len(labels.classes),
        torch.Generator().manual_seed(seed),
        **score.options,
    )
    wrong = labels.is_wrong
    assert wrong is not None  # the noise was drawn here
    kept = drop_lowest(state.scores, torch.tensor(wrong.mean())).bool().numpy()
    auc = detection(state.scores.numpy(), ~kept, wrong).auc
    return {"auc": auc, "purity": float(1 - wrong[kept].mean()), "wrong": float(wrong.mean())}


def summary(found: list[dict[str, float]]) -> dict[str, Figure]:
    """Put the seeds' figures side by side, with mean and half width of the 95 % interval."""
    result = {}
    for name in found[0]:
        values: NDArray[np.float64] = np.array([each[name] for each in found])
        mean, half = mean_and_interval(values)
        interval = None if np.isnan(half) else half
        result[name] = Figure(mean=mean, interval=interval, seeds=values.tolist())
    return result


def table(cells: list[dict[str, Any]]) -> str:
    """Lay out the cells as Markdown, in the order of `SCORES`."""
    columns = [f"{figure}, {100 * rate:.0f} % wrong" for rate in RATES for figure in FIGURES]
    lines = [f"| score | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    of = {(cell["score"], cell["rate"]): cell for cell in cells}
    chance = [figure for rate in RATES for figure in (0.5, 1 - rate)]
    lines.append(f"| at random | {' | '.join(f'{value:.3f}' for value in chance)} |")
    for name in SCORES:
        figures = [show(of[name, rate][key]) for rate in RATES for key in FIGURES.values()]
        lines.append(f"| {name} | {' | '.join(figures)} |")
    return "\n".join(lines)


def show(figure: Figure) -> str:
    """Write mean and 95 % interval."""
    half = figure["interval"]
    return f"{figure['mean']:.3f}" + ("" if half is None else f" ± {half:.3f}")


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("noise_detection", __doc__)
    parser.add_argument("--store", type=Path, default=Path("features.zarr"))
    parser.add_argument("--seeds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
