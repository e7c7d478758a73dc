"""Claim: dml audit ranks wrong labels no worse than out-of-fold logistic regression, and sooner.

Draws noise on the training labels of one feature store; the audit and cleanlab's label quality
scores judge the same features and labels. cleanlab gets the probabilities of scikit-learn's
logistic regression on centred features (C = 1 and C = 0.01), out of fold over five folds (a class
with fewer images than folds is in fewer of them).

Figures, each as mean and 95 % interval over seeds of noise and audit: AUC, average precision, the
share of wrong labels among as many suspects as the method itself estimates there to be (cleanlab:
as many as `find_label_issues` reports), the expected calibration error of p_wrong over ten bins
(cleanlab's 1 - score beside it, which is not meant as one), the share of the wrong labels for which
the suggestion is right, and the time. No method is told the noise. The plain means of the audit's
own sources stand beside the combination.

    uv run python benchmarks/audit_quality.py --store grocery.zarr

writes benchmarks/results/audit_quality.json: command, versions, hardware, every seed's figures.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import head, parser_of, write
from numpy.typing import NDArray

from cache import FeatureStore
from pipeline.audit.judging import judge
from pipeline.audit.quality import average_precision, calibration_error
from pipeline.audit.subject import Subject, of_store
from pipeline.measures.detection import detection
from pipeline.measures.intervals import mean_and_interval
from pipeline.program.rows import tiles
from pipeline.transforms.fitting import fit

FIGURES = (
    "AUC",
    "average precision",
    "precision",
    "calibration",
    "suggestions",
    "seconds",
    "CPU seconds",
)
STRENGTHS = (1.0, 0.01)  # C of the regression: scikit-learn's default, and one for noisy labels
Floats = NDArray[np.float64]


def main() -> None:
    """Measure all cells, write the result file and print the table."""
    arguments = parse()
    store = FeatureStore.open(arguments.store)
    cells: list[dict[str, Any]] = []
    for noise in arguments.noise:
        found: dict[str, list[dict[str, float]]] = {}
        for seed in range(arguments.seeds):
            subject = of_store(store, noise=noise, seed=seed)
            measured = ours(subject, seed)
            for strength in STRENGTHS:
                measured |= theirs(subject, seed, strength)
            for name, figures in measured.items():
                found.setdefault(name, []).append(figures)
                print(f"{noise}, seed {seed}, {name}: {figures}", file=sys.stderr)
        wrong = subject.truth.is_wrong.mean() if subject.truth else float("nan")
        for name, figures in found.items():
            facts = {"noise": noise, "wrong": float(wrong), "method": name}
            cells.append({**facts, **summary(figures)})
    report = {
        **head(__doc__),
        "store": {name: value for name, value in store.describe().items() if name != "path"},
        "seeds": list(range(arguments.seeds)),
        "cells": cells,
    }
    write(arguments.out, report)
    print(table(cells))


def ours(subject: Subject, seed: int) -> dict[str, dict[str, float]]:
    """Audit, and measure the plain means of the same sources beside it."""
    began = now()
    judged = judge(subject.features, subject.labels, len(subject.classes), seed=seed)
    spent = since(began)
    log_odds = torch.stack([each.log_odds for each in judged.sources], dim=1)
    ranks = log_odds.nan_to_num(0.0).argsort(dim=0).argsort(dim=0).double()
    p_wrong, other = judged.p_wrong.numpy(), judged.suggested.numpy()
    expected = round(float(p_wrong.mean()) * len(p_wrong))
    return {
        "dml audit": figures_of(subject, p_wrong, other, expected, spent),
        "mean rank of its sources": figures_of(subject, ranks.mean(dim=1).numpy()),
        "mean log odds": figures_of(subject, log_odds.nanmean(dim=1).double().numpy()),
    }


def theirs(subject: Subject, seed: int, strength: float) -> dict[str, dict[str, float]]:
    """Judge by cleanlab, on probabilities of an out-of-fold logistic regression."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    began = now()
    values = fit("centre", lambda: tiles(subject.features))(subject.features).numpy()
    labels = subject.labels.numpy()
    folds = StratifiedKFold(n_splits=5, shuffle=True, random_state=seed)
    model = LogisticRegression(C=strength, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with fewer images than folds
        shares = cross_val_predict(model, values, labels, cv=folds, method="predict_proba")
        scores = get_label_quality_scores(labels, shares)
        issues = find_label_issues(labels, shares, n_jobs=1)
    spent = since(began)
    shares[np.arange(len(labels)), labels] = -1
    name = f"cleanlab, logistic regression, C = {strength:g}"
    return {
        name: figures_of(subject, 1 - scores, shares.argmax(axis=1), int(issues.sum()), spent),
    }


def now() -> tuple[float, float]:
    """Look at the clock, and at the time that this process has computed."""
    return time.perf_counter(), time.process_time()


def since(began: tuple[float, float]) -> tuple[float, float]:
    """Count the seconds and the CPU seconds since then."""
    return time.perf_counter() - began[0], time.process_time() - began[1]


def figures_of(
    subject: Subject,
    suspicion: Floats,
    other: NDArray[np.int64] | None = None,
    expected: int | None = None,
    spent: tuple[float, float] = (float("nan"), float("nan")),
) -> dict[str, float]:
    """Compare a suspicion (N,), high = wrong, with the truth; what is not known is NaN."""
    truth = subject.truth
    assert truth is not None  # the noise was drawn here
    wrong, nothing = truth.is_wrong, float("nan")
    first = np.argsort(-suspicion, kind="stable")[:expected]
    is_probability = expected is not None
    values = (
        detection(-suspicion, wrong, wrong).auc,
        average_precision(suspicion, wrong),
        float(wrong[first].mean()) if is_probability else nothing,
        calibration_error(suspicion, wrong) if is_probability else nothing,
        nothing if other is None else float((other == truth.classes)[wrong].mean()),
        *spent,
    )
    return dict(zip(FIGURES, values, strict=True))


def summary(found: list[dict[str, float]]) -> dict[str, Any]:
    """Give each figure's mean, half width of the 95 % interval, and values; None = not known."""
    result: dict[str, Any] = {}
    for name in FIGURES:
        values = np.array([each[name] for each in found])
        if np.isnan(values).any():
            result[name] = None
            continue
        mean, half = mean_and_interval(values)
        interval = None if np.isnan(half) else half
        result[name] = {"mean": mean, "interval": interval, "seeds": values.tolist()}
    return result


def table(cells: list[dict[str, Any]]) -> str:
    """Lay out the cells as Markdown."""
    lines = [f"| noise | method | {' | '.join(FIGURES)} |", "|---" * (2 + len(FIGURES)) + "|"]
    for cell in cells:
        figures = " | ".join(show(cell[name], name) for name in FIGURES)
        lines.append(f"| {cell['noise']} | {cell['method']} | {figures} |")
    return "\n".join(lines)


def show(figure: dict[str, Any] | None, name: str) -> str:
    """Write mean and 95 % interval."""
    if figure is None:
        return ""
    digits = 1 if "seconds" in name else 3
    half = figure["interval"]
    return f"{figure['mean']:.{digits}f}" + ("" if half is None else f" ± {half:.{digits}f}")


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("audit_quality", __doc__)
    parser.add_argument("--store", type=Path, default=Path("features.zarr"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--noise", nargs="+", default=["symmetric:0.2", "superclass:0.2"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
