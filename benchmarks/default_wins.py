"""Claim: `--loss auto`, the default, is at or above every other method, whatever the noise.

Measures one set: a store under one protocol. Rows are the untrained features, the closed forms
(weighted by all rows, and with +agreement by those whose neighbours agree), trained methods and
`auto`; columns are label noises. Noise and start are those of the seed for all methods, so the
differences to `auto` are paired. Recall@1 on test rows with true labels, in percent.

Each trained method has the setting that suits it best as far as a user can know: on seed 0 of each
noise, a fifth of the training rows is held out with its noisy labels ("classes" where the test
classes are new, else "rows"), and MAP@R there chooses one of three learning rates, proxies' rates
scaled alike, and the epoch to stop after. All training rows then train so for every seed. Epochs
are as many as give equally many steps to methods with small and with large batches. Closed forms
and `auto` have what their defaults are.

    uv run python benchmarks/default_wins.py --store grocery.zarr --protocol query-gallery

writes benchmarks/results/default_wins.json: command, versions, hardware, every seed's figures. The
file is written after every cell, and seeds that a cell has already are not measured again. Parts
measured into files of their own become one: `--out all.json --merge part.json other.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from _report import head, parser_of, write
from _wins_table import ITSELF, merged, table

from cache import FeatureStore
from cache.errors import InputError
from cache.store import Features
from pipeline.choices.assembly import method_of
from pipeline.choices.settings import Settings
from pipeline.evaluate import embedded, normalized, search
from pipeline.program.heads import embed
from pipeline.training.learn import Learned, learn
from pipeline.training.protocol import Split, split
from pipeline.training.validation import Kind

UNTRAINED = "none"
CLOSED_FORMS = ("whiten", "within-class-whiten", "discriminant", "reliability", "metric")
TRAINED = (
    *("prism", "smooth-proxy-anchor", "soft-orthogonal", "multi-similarity", "curriculum"),
    *("hierarchical-triplet", "proxy-anchor", "normalized-softmax", "co-teaching-t"),
)
WEIGHTED = tuple(f"{name}+agreement" for name in CLOSED_FORMS)
METHODS = (UNTRAINED, *CLOSED_FORMS, *WEIGHTED, *TRAINED, ITSELF)
NOISES = ("0", "symmetric:0.2", "symmetric:0.5", "small-cluster:0.5")
RATES = (3e-4, 3e-3, 1e-2)  # of the head
PATIENCE = 1 / 3  # of the epochs, without a better one: then validation ends
FACTS = "store", "protocol", "steps", "rates", "patience"  # equal in parts that belong together


class Ground(NamedTuple):
    """What every training stands on."""

    features: Features
    values: torch.Tensor
    roles: Split
    steps: int

    @property
    def validation(self) -> Kind:
        """What is held out: as in the test, known or new classes."""
        return "rows" if self.roles.protocol == "query-gallery" else "classes"


class Stopped(NamedTuple):
    """A setting to train with.

    Attributes:
        lr: of the head.
        epoch: to stop after.
        epochs: that the learning rate's cosine is made for.
        map_at_r: on the validation rows.
    """

    lr: float
    epoch: int
    epochs: int
    map_at_r: float


def main() -> None:
    """Measure all cells, or take them from other results; print the table and write the file."""
    arguments = parse()
    if arguments.merge:
        parts = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.merge]
        report = {**head(__doc__), **merged(parts, FACTS)}
        write(arguments.out, report)
    else:
        report = measured_set(arguments)
    print(table(report["cells"]))


def measured_set(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the cells that are missing, and write the file after each."""
    store = FeatureStore.open(arguments.store)
    features = store.read()
    roles = split(features.rows, arguments.protocol)
    ground = Ground(features, torch.from_numpy(features.values), roles, arguments.steps)
    report: dict[str, Any] = {
        **head(__doc__),
        "store": {name: value for name, value in store.describe().items() if name != "path"},
        "protocol": roles.protocol,
        "steps": arguments.steps,
        "rates": list(RATES),
        "patience": PATIENCE,
    }
    cells = report["cells"] = earlier_cells(arguments.out, report)
    methods, noises = arguments.methods.split(","), arguments.noise.split(",")
    for method, noise in [(method, noise) for method in methods for noise in noises]:
        settings_of(ground, method, noise).check()  # before the first one takes its time
    for method in methods:
        for noise in noises:
            cell = cell_of(cells, method, noise)
            missing = [seed for seed in range(arguments.seeds) if seed not in cell["seeds"]]
            if not missing or "error" in cell:
                continue
            cell["git"] = report["environment"]["git"]
            extend(cell, ground, missing)
            print(json.dumps(cell), file=sys.stderr)
            write(arguments.out, report)
    return report


def earlier_cells(path: Path, report: dict[str, Any]) -> list[dict[str, Any]]:
    """Take over the cells of an earlier call; raise InputError if it measured something else."""
    if not path.exists():
        return []
    earlier = json.loads(path.read_text(encoding="utf-8"))
    for name in FACTS:
        if earlier[name] != report[name]:
            raise InputError(f"{path.name} has another {name}: give another --out, or remove it")
    return list(earlier["cells"])


def cell_of(cells: list[dict[str, Any]], method: str, noise: str) -> dict[str, Any]:
    """Find a cell, or begin it."""
    for cell in cells:
        if (cell["method"], cell["noise"]) == (method, noise):
            return cell
    cells.append({"method": method, "noise": noise, "seeds": []})
    return cells[-1]


def settings_of(ground: Ground, method: str, noise: str) -> Settings:
    """Say what a row and a column mean; the seed is 0."""
    loss, _, selection = method.partition("+")
    settings = Settings(
        loss=loss,
        selection=selection or None,
        noise=None if noise == "0" else noise,
        protocol=ground.roles.protocol,
    )
    if method not in TRAINED:
        return settings
    rows = len(ground.roles.train)
    return settings.replaced(epochs=math.ceil(ground.steps * method_of(settings).batch_size / rows))


def extend(cell: dict[str, Any], ground: Ground, seeds: Sequence[int]) -> None:
    """Measure more seeds of a cell, at the setting that it has or that validation chooses."""
    begun = time.perf_counter()
    settings = settings_of(ground, cell["method"], cell["noise"])
    try:
        if cell["method"] not in TRAINED:
            found = measured(ground, settings, seeds)
        else:
            if "tried" not in cell:
                tried = validated(ground, settings)
                cell["tried"] = [each._asdict() for each in tried]
                cell["setting"] = max(tried, key=lambda each: each.map_at_r)._asdict()
            lr, epoch = cell["setting"]["lr"], cell["setting"]["epoch"]
            found = measured(ground, at_rate(settings, lr), seeds, until=epoch)
    except InputError as error:  # for example too few classes left by the noise
        cell["error"] = str(error)
        return
    cell["seeds"] += seeds
    for name in found[0]:
        cell.setdefault(name, []).extend(each[name] for each in found)
    seconds = cell.get("seconds", 0.0) + time.perf_counter() - begun
    cell["seconds"] = round(seconds, 1)


def at_rate(settings: Settings, lr: float) -> Settings:
    """Put in another learning rate, and scale that of the proxies alike."""
    usual = Settings()
    return settings.replaced(lr=lr, proxy_lr=usual.proxy_lr * lr / usual.lr)


def validated(ground: Ground, settings: Settings) -> list[Stopped]:
    """Find the best epoch of each learning rate that does not diverge, on held-out rows."""
    patience = math.ceil(PATIENCE * settings.epochs)
    held_out = settings.replaced(validation=ground.validation, patience=patience)
    runs = [at_rate(held_out, lr) for lr in RATES]
    learned = learn(ground.values, ground.features, ground.roles, runs)
    tried = [
        Stopped(lr, run.selected.epoch, settings.epochs, run.selected.map_at_r)
        for lr, run in zip(RATES, learned, strict=True)
        if not isinstance(run, InputError) and run.selected is not None
    ]
    if not tried:
        raise next(run for run in learned if isinstance(run, InputError))
    return tried


def measured(
    ground: Ground, settings: Settings, seeds: Sequence[int], *, until: int | None = None
) -> list[dict[str, Any]]:
    """Train a method with all seeds at once and evaluate it, or the untrained features.

    Of `auto` also what it chose, and of how many candidates within its seconds.
    """
    if not settings.has_head:
        return [retrieval(ground, normalized)] * len(seeds)
    runs = [settings.replaced(seed=seed) for seed in seeds]
    learned = learn(ground.values, ground.features, ground.roles, runs, until=until)
    found = []
    for run in learned:
        if isinstance(run, InputError):
            raise run
        quality = retrieval(ground, partial(embedded_by, run))
        if run.choice is not None:
            looked_at = sum(each.map_at_r is not None for each in run.choice.tried)
            quality |= {"chosen": run.choice.candidate.name, "candidates": looked_at}
        found.append(quality)
    return found


def embedded_by(run: Learned, rows: torch.Tensor) -> torch.Tensor:
    """Embed raw features by what a run has learned."""
    return embed(run.head, run.transform(rows))


def retrieval(ground: Ground, space: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, Any]:
    """Evaluate one space of embeddings."""
    queries, gallery = embedded(ground.values, ground.roles, space)
    found = search(queries, gallery, ground.roles, (1,), ()).average()
    return {"recall@1": found.recall[1], "map@r": found.map_at_r}


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("default_wins", __doc__)
    parser.add_argument("--store", type=Path, default=Path("features.zarr"))
    parser.add_argument("--protocol", choices=["query-gallery", "class-disjoint"])
    parser.add_argument("--methods", default=",".join(METHODS), help="separated by commas")
    parser.add_argument("--noise", default=",".join(NOISES), help="separated by commas; 0 = none")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=500, help="of the trained methods, at most")
    parser.add_argument("--merge", type=Path, nargs="+", help="results to put together in --out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
