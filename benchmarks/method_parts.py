"""Claim: every part of the default's method earns its place; the README says where that fails.

Measures one set: a store under one protocol. The first row is what `auto` starts from: the closed
form of the protocol on rooted features, each row weighted by `agreement`. Every other row leaves
one part out, or puts another in its place; figures are Recall@1 on test rows with true labels, in
percent, and what that costs, paired by the seed of the noise. Nothing is chosen here, so nothing is
validated. Parts were chosen while looking at these sets: that they fit them is no surprise, by how
much each one counts is what is shown.

    uv run python benchmarks/method_parts.py --store grocery.zarr --protocol query-gallery

writes benchmarks/results/method_parts.json: command, versions, hardware, every seed's figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import head, parser_of, write
from _wins_table import above, show, signed
from default_wins import Ground, measured

from cache import FeatureStore
from pipeline.auto.candidates import PLAIN, REFERENCES
from pipeline.choices.settings import Settings
from pipeline.measures.intervals import mean_and_interval
from pipeline.training.protocol import split

WHOLE = "the whole method"
# In the order in which a row of features meets them.
PARTS: dict[str, dict[str, Any]] = {
    WHOLE: {},
    "features as they are, not their square root": {"transform": PLAIN},
    "all rows alike": {"selection": "none"},
    "rows kept by prism": {"selection": "prism"},
    "rows kept by knn": {"selection": "knn"},
    "neighbours in centred features": {"options": {"select.looks": 0}},
    "neighbours in whitened features only": {"options": {"select.looks": 1}},
    "agreement not relative to the class": {"options": {"select.relative": False}},
    "agreement not squared": {"options": {"select.power": 1.0}},
    "no row offered to another class": {"options": {"select.offers": False}},
}
# The closed form with and without what is ours in it.
FORMS = {
    "query-gallery": {"class means in the place of all rows": "discriminant"},
    "class-disjoint": {"no class means": "within-class-whiten"},
}
NOISES = ("0", "symmetric:0.5", "small-cluster:0.5")


def main() -> None:
    """Measure all parts; print the table and write the file."""
    arguments = parse()
    store = FeatureStore.open(arguments.store)
    features = store.read()
    roles = split(features.rows, arguments.protocol)
    ground = Ground(features, torch.from_numpy(features.values), roles, steps=0)
    report: dict[str, Any] = {
        **head(__doc__),
        "store": {name: value for name, value in store.describe().items() if name != "path"},
        "protocol": roles.protocol,
        "cells": [],
    }
    variants = [*PARTS, *FORMS[roles.protocol]]
    for noise in arguments.noise.split(","):
        for name in variants:
            settings = settings_of(ground, name, noise).check()
            found = measured(ground, settings, range(arguments.seeds))
            cell = {"method": name, "noise": noise, "seeds": list(range(arguments.seeds))}
            cell |= {key: [each[key] for each in found] for key in found[0]}
            report["cells"].append(cell)
            print(json.dumps(cell), file=sys.stderr)
            write(arguments.out, report)
    print(table(report["cells"]))


def settings_of(ground: Ground, name: str, noise: str) -> Settings:
    """Say what a row of the table means; the seed is 0."""
    protocol = ground.roles.protocol
    reference = REFERENCES[protocol].settings(Settings())
    settings = reference.replaced(protocol=protocol, noise=None if noise == "0" else noise)
    if name in FORMS[protocol]:
        shrinkage = {"loss.shrinkage": settings.options["loss.shrinkage"]}
        return settings.replaced(loss=FORMS[protocol][name], options=shrinkage)
    changes = dict(PARTS[name])
    options = {**settings.options, **changes.pop("options", {})}
    return settings.replaced(options=options, **changes)


def table(cells: Sequence[dict[str, Any]]) -> str:
    """Lay out the cells as Markdown: each part's figure, and what its absence costs."""
    noises = list(dict.fromkeys(cell["noise"] for cell in cells))
    found = {(cell["method"], cell["noise"]): cell for cell in cells}
    lines = [
        f"| recall@1 | {' | '.join(f'{noise} | that costs' for noise in noises)} |",
        "|---" * (2 * len(noises) + 1) + "|",
    ]
    for method in dict.fromkeys(cell["method"] for cell in cells):
        words = [method]
        for noise in noises:
            cell, whole = found[method, noise], found[WHOLE, noise]
            difference = None if method == WHOLE else above(whole, cell)
            words += [show(*mean_and_interval(np.array(cell["recall@1"]))), signed(difference)]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("method_parts", __doc__)
    parser.add_argument("--store", type=Path, default=Path("features.zarr"))
    parser.add_argument("--protocol", choices=["query-gallery", "class-disjoint"])
    parser.add_argument("--noise", default=",".join(NOISES), help="separated by commas; 0 = none")
    parser.add_argument("--seeds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
