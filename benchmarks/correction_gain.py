"""Claim: correcting the top suspects wins back most of what wrong labels cost; the target is 75 %.

Makes labels of one store wrong (symmetric noise, and noise inside of superclasses), audits them
without the truth, and lets a simulated reviewer look at the most suspicious images in the audit's
order: decisions by the truth, but a slip in 2 % of them, which gives a random other class. The
decisions go through the files that people use (overlay of the noise, corrected labels), and the
corrected labels train again. Recall@1 on test rows, whose labels are right throughout. Won back =
(corrected - noisy) / (clean - noisy), a ratio of means over seeds with a 95 % interval of it
(linearised, Student's t). "as flagged" looks at every image that the audit calls an issue.

    uv run python benchmarks/correction_gain.py --store grocery.zarr

writes benchmarks/results/correction_gain.json: command, versions, hardware, every seed's figures;
the file is written after every seed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _report import head, parser_of, write
from numpy.typing import NDArray

from cache import FeatureStore
from cache.errors import InputError
from cache.store import Features
from pipeline.audit.applying import apply
from pipeline.audit.audit import audit_store
from pipeline.audit.decisions import Decision
from pipeline.audit.findings import Findings
from pipeline.choices.settings import Settings
from pipeline.evaluate import embedded, search
from pipeline.labels.corrected_file import write_corrected
from pipeline.labels.overlays import make_overlay
from pipeline.measures.intervals import mean_and_interval
from pipeline.noise._overlay import Overlay, write_overlay
from pipeline.program.heads import embed
from pipeline.training.learn import learn
from pipeline.training.protocol import Split, split

NOISES = ("symmetric:0.2", "superclass:0.2")
LOSSES = ("prism", "proxy-anchor")
LOOKED_AT = (0.1, 0.2)  # shares of the training rows
SLIPS = 0.02
TARGET = 0.75


class Ground(NamedTuple):
    """What every training stands on."""

    store: FeatureStore
    features: Features
    values: torch.Tensor
    roles: Split
    epochs: int


def main() -> None:
    """Measure all cells, print the table and write the result file."""
    arguments = parse()
    store = FeatureStore.open(arguments.store)
    features = store.read()
    roles = split(features.rows)
    values = torch.from_numpy(features.values)
    ground = Ground(store, features, values, roles, arguments.epochs)
    losses = arguments.losses.split(",")
    report = {
        **head(__doc__),
        "store": {name: value for name, value in store.describe().items() if name != "path"},
        "protocol": roles.protocol,
        "rows": len(roles.train),
        "epochs": arguments.epochs,
        "slips": SLIPS,
        "target": TARGET,
    }
    clean: dict[str, list[float]] = {loss: [] for loss in losses}
    rounds: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        for loss in losses:
            clean[loss].append(trained(ground, loss, seed))
        print(f"right labels, seed {seed}: {clean}", file=sys.stderr)
        rounds += [corrected(ground, noise, seed, losses) for noise in NOISES]
        cells = [
            cell
            for noise in NOISES
            for loss in losses
            for cell in summary(noise, loss, clean[loss], rounds)
        ]
        done = {"seeds": list(range(seed + 1)), "cells": cells, "rounds": rounds}
        write(arguments.out, {**report, **done})
    print(table(cells))


def trained(
    ground: Ground, loss: str, seed: int, *, noise: Path | None = None, labels: Path | None = None
) -> float:
    """Train once and measure Recall@1, in [0, 1]."""
    settings = Settings(
        loss=loss,
        seed=seed,
        epochs=ground.epochs,
        noise=None if noise is None else f"file:{noise}",
        labels=None if labels is None else str(labels),
    )
    (run,) = learn(ground.values, ground.features, ground.roles, [settings.check()])
    if isinstance(run, InputError):
        raise run
    space = embedded(ground.values, ground.roles, lambda rows: embed(run.head, run.transform(rows)))
    return search(*space, ground.roles, (1,), ()).average().recall[1]


def corrected(ground: Ground, noise: str, seed: int, losses: Sequence[str]) -> dict[str, Any]:
    """Draw a noise, audit it, review more and more of it, and train with what comes out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        noisy = folder / "noise.parquet"
        drawn = make_overlay(ground.store, noise, seed=seed)
        write_overlay(noisy, drawn)
        found = audit_store(ground.store, noise=f"file:{noisy}", seed=seed)
        reviews = []
        for looked_at, count in budgets(found):
            decisions = review(found, drawn, count, seed)
            files: dict[str, Path] = {"noise": noisy}
            if decisions:
                files = {"labels": folder / f"{count}.parquet"}
                write_labels(ground.store, decisions, noisy, files["labels"])
            after = {loss: trained(ground, loss, seed, **files) for loss in losses}
            reviews.append(
                {
                    "looked_at": looked_at,
                    "rows": count,
                    **outcome(drawn, decisions),
                    "recall@1": after,
                }
            )
            print(f"{noise} seed {seed}, {looked_at}: {count} rows, {after}", file=sys.stderr)
    measures = found.summary["measures"]
    return {
        "noise": noise,
        "seed": seed,
        "audit": {"seconds": found.summary["seconds"], **measures},
        "reviews": reviews,
    }


def budgets(found: Findings) -> list[tuple[str, int]]:
    """Say how many suspects are looked at: none, shares of the rows, and those that are issues."""
    rows = found.table.num_rows
    shares = [(f"{100 * share:.0f} % of the rows", round(share * rows)) for share in LOOKED_AT]
    issues = sum(found.table["is_label_issue"].to_pylist())
    return [("nothing", 0), *shares, ("as flagged", issues)]


def review(found: Findings, drawn: Overlay, count: int, seed: int) -> list[Decision]:
    """Decide about the first suspects as a person would who sees the right class nearly always."""
    generator = np.random.default_rng([seed, 0x736C6970])  # "slip": a stream of its own
    right = dict(zip(drawn.ids, drawn.given, strict=True))
    classes = sorted(set(drawn.given))
    decisions = []
    for key, given in zip(
        found.table["id"].to_pylist()[:count],
        found.table["given_label"].to_pylist()[:count],
        strict=True,
    ):
        seen = right[key]
        if generator.random() < SLIPS:
            seen = str(generator.choice([name for name in classes if name != seen]))
        is_kept = seen == given
        verdict = "keep" if is_kept else "relabel"
        decisions.append(Decision(key, verdict, "" if is_kept else seen))
    return decisions


def write_labels(
    store: FeatureStore, decisions: Sequence[Decision], noise: Path, path: Path
) -> None:
    """Apply decisions to the noise's labels."""
    part = {each.id: each for each in decisions}
    made = apply(store, [part], sources=["simulated"], created="", onto=noise)
    write_corrected(path, made.corrected)


def outcome(drawn: Overlay, decisions: Sequence[Decision]) -> dict[str, int]:
    """Count the wrong labels before and after, by the truth."""
    now = dict(zip(drawn.ids, drawn.labels, strict=True))
    wrong = sum(now[key] != given for key, given in zip(drawn.ids, drawn.given, strict=True))
    now |= {each.id: each.label for each in decisions if each.decision == "relabel"}
    left = sum(now[key] != given for key, given in zip(drawn.ids, drawn.given, strict=True))
    return {"wrong": wrong, "still_wrong": left}


def summary(
    noise: str, loss: str, clean: list[float], rounds: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Average over the seeds: one cell for each number of suspects looked at."""
    rounds = [each for each in rounds if each["noise"] == noise]
    noisy = np.array([each["reviews"][0]["recall@1"][loss] for each in rounds])
    cells = []
    for at, first in enumerate(rounds[0]["reviews"]):
        reviews = [each["reviews"][at] for each in rounds]
        after = np.array([each["recall@1"][loss] for each in reviews])
        share, half = won_back(np.array(clean), noisy, after)
        cells.append(
            {
                "noise": noise,
                "loss": loss,
                "looked_at": first["looked_at"],
                "rows": float(np.mean([each["rows"] for each in reviews])),
                "still_wrong": float(np.mean([each["still_wrong"] for each in reviews])),
                "clean": clean,
                "noisy": noisy.tolist(),
                "corrected": after.tolist(),
                "won_back": share,
                "interval": None if np.isnan(half) else half,
            }
        )
    return cells


def won_back(
    clean: NDArray[np.float64], noisy: NDArray[np.float64], after: NDArray[np.float64]
) -> tuple[float, float]:
    """Divide the mean gain by the mean loss; the half width is NaN for one seed."""
    lost, gained = clean - noisy, after - noisy
    share = float(gained.mean() / lost.mean())
    _, half = mean_and_interval(gained - share * lost)
    return share, half / abs(float(lost.mean()))


def table(cells: Sequence[dict[str, Any]]) -> str:
    """Lay out the cells as Markdown."""
    names = "noise", "loss", "looked at", "rows", "still wrong", "clean", "noisy", "corrected"
    lines = [f"| {' | '.join(names)} | won back |", "|---" * (len(names) + 1) + "|"]
    for cell in cells:
        half = "" if cell["interval"] is None else f" ± {100 * cell['interval']:.0f}"
        figures = [show(cell[name]) for name in ("clean", "noisy", "corrected")]
        words = [cell["noise"], cell["loss"], cell["looked_at"]]
        counts = [f"{cell['rows']:.0f}", f"{cell['still_wrong']:.0f}"]
        back = f"{100 * cell['won_back']:.0f} %{half}"
        lines.append(f"| {' | '.join([*words, *counts, *figures, back])} |")
    return "\n".join(lines)


def show(values: Sequence[float]) -> str:
    """Write mean and 95 % interval in percent."""
    mean, half = mean_and_interval(np.array(values))
    return f"{100 * mean:.1f}" + ("" if np.isnan(half) else f" ± {100 * half:.1f}")


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("correction_gain", __doc__)
    parser.add_argument("--store", type=Path, default=Path("features.zarr"))
    parser.add_argument("--losses", default=",".join(LOSSES), help="separated by commas")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    return parser.parse_args()


if __name__ == "__main__":
    main()
