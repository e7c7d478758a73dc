"""Trains and measures a grid of cells on one store; what is finished is never trained again.

Cells that differ in noise, learning rates or numbers among the options train with all their seeds
as one program, as many runs at once as fit into the memory. Together or apart, a run gives the same
up to the order of additions. The test rows are looked at once for each run, after its training,
with their true labels.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from cache.errors import InputError
from cache.store import Features, FeatureStore
from pipeline.ablation.room import OUT_OF_MEMORY, is_out_of_memory, runs_at_once
from pipeline.ablation.trial import Ground, measure_trained, measure_untrained
from pipeline.choices.grid import CLEAN, UNTRAINED, Cell, canonical
from pipeline.choices.settings import Settings
from pipeline.labels.corruption import NoiseSpec
from pipeline.program.loop import Way
from pipeline.program.rows import Streamed
from pipeline.runs.cells import Cells
from pipeline.runs.results import Row, metric_names, write_results
from pipeline.runs.unfinished import Unfinished
from pipeline.training.loading import pictures_of
from pipeline.training.protocol import Name

Progress = Callable[[int, int], None]
_NO_SEED = 0  # under which the figures of the untrained features are kept


@dataclass(frozen=True)
class Ablation:
    """What an ablation did.

    Attributes:
        rows: the results, as in `results.parquet`.
        trained: runs that were trained now.
        reused: runs that were there already.
        failures: a line for each cell that failed.
    """

    rows: list[Row]
    trained: int
    reused: int
    failures: list[str]


@dataclass
class _Job:
    """A cell, what decides its figures, the seeds that have none yet, and why some failed."""

    cell: Cell
    decided_by: Mapping[str, Any]
    missing: list[int]
    failures: dict[int, str] = field(default_factory=dict)


def ablate(
    store: FeatureStore,
    cells: Sequence[Cell],
    folder: Path,
    *,
    seeds: int,
    recall_at: tuple[int, ...] = (1,),
    device: str = "auto",
    memory: int | None = None,
    way: Way | None = None,
    command: str = "",
    progress: Progress = lambda done, total: None,
    snapshot_seconds: float = 30.0,
) -> Ablation:
    """Train what is missing and write the results of these cells.

    A run whose training fails is recorded with the reason, and tried again by the next call; the
    others go on. Called again after an interruption it writes the same results, but for `seconds`.

    Args:
        store: a complete store.
        cells: as `grid.plan` lists them.
        folder: for finished cells and results; may hold those of earlier calls on the same store.
        seeds: runs of each cell, at least 1; their seeds are 0, 1, ...
        recall_at: the K of Recall@K.
        device: "auto", "cpu", "cuda" or "mps".
        memory: bytes that the runs which train at once may take; None = most of what is free.
        way: how steps are taken; None = alone on a CPU, together elsewhere; see `Program`.
        command: what was typed, for the record.
        progress: is told the finished and the total epochs of the runs that are trained.
        snapshot_seconds: the least time between two snapshots of a training to go on from.

    Raises:
        InputError: cells, store or folder cannot be used; nothing was trained.
        StoreIncompleteError: the extraction has not finished.
    """
    if seeds < 1:
        raise InputError(f"the number of seeds is {seeds}: expected at least 1")
    store = store.choose(_features_of(cells))
    features = store.read()
    fingerprint = store.fingerprint.digest()
    decided_by = {"fingerprint": fingerprint, "rows": _digest_of_rows(features)}
    if store.features != store.feature_names[0]:
        decided_by["features"] = store.features
    kept = Cells(folder, decided_by)
    ground = Ground.prepare(
        features, [cell.settings for cell in cells], recall_at=recall_at, device=device, way=way
    )
    ground = replace(ground, pictures=_pictures(store, cells, ground.values.device))
    rows = [_untrained(kept, ground, protocol) for protocol in ground.roles]
    jobs = [_job(kept, ground, cell, seeds) for cell in cells]
    _train_missing(kept, ground, jobs, memory, snapshot_seconds, progress)
    for job in jobs:
        rows += _rows(kept, ground, job, seeds)
    rows = [{**row, "store": fingerprint, "command": command} for row in rows]
    return Ablation(
        rows=write_results(folder, rows, metric_names(recall_at)),
        trained=sum(len(job.missing) - len(job.failures) for job in jobs),
        reused=sum(seeds - len(job.missing) for job in jobs),
        failures=[line for job in jobs for line in _failures(job)],
    )


def _pictures(
    store: FeatureStore, cells: Sequence[Cell], device: torch.device
) -> tuple[Streamed, ...]:
    """Find what the cells that train on random views draw from."""
    drawing = [cell.settings for cell in cells if cell.settings.views is not None]
    return pictures_of(store, drawing[0], device) if drawing else ()


def _features_of(cells: Sequence[Cell]) -> str | None:
    """Return which features of the store the cells are trained on."""
    names = {cell.settings.features for cell in cells}
    if len(names) > 1:
        raise InputError(
            "one ablation reads one kind of features: run it once for each, with --features and "
            "another --out"
        )
    return names.pop() if names else None


def _failures(job: _Job) -> Iterator[str]:
    """Say why runs of a cell failed, once for each reason."""
    for reason in dict.fromkeys(job.failures.values()):
        failed = [str(seed) for seed, why in job.failures.items() if why == reason]
        which = "" if len(failed) == len(job.missing) else f" (seed {', '.join(failed)})"
        yield f"{job.cell}{which}: {reason}"


def _train_missing(
    kept: Cells,
    ground: Ground,
    jobs: Sequence[_Job],
    memory: int | None,
    snapshot_seconds: float,
    progress: Progress,
) -> None:
    """Train group after group, as many runs of it at once as fit."""
    groups: dict[str, list[tuple[_Job, int]]] = {}
    for job in jobs:
        key = json.dumps(job.cell.settings.shared, sort_keys=True)
        groups.setdefault(key, []).extend((job, seed) for seed in job.missing)
    groups = {key: runs for key, runs in groups.items() if runs}
    done, total = 0, sum(_epochs(runs) for runs in groups.values())
    for key, runs in groups.items():
        at_once = runs_at_once(ground, runs[0][0].cell.settings, memory)
        waiting = [runs[at : at + at_once] for at in range(0, len(runs), at_once)]
        while waiting:
            part = waiting.pop(0)
            tell = functools.partial(_tell, progress, done, total, len(part))
            try:
                _train(kept, ground, key, part, snapshot_seconds, tell)
            except OUT_OF_MEMORY as error:
                if not is_out_of_memory(error):
                    raise
                half = len(part) // 2
                if half:
                    waiting = [part[:half], part[half:], *waiting]
                    continue
                ((job, seed),) = part
                job.failures[seed] = "the memory does not hold one run: lower --dim or --batch-size"
            done += _epochs(part)


def _epochs(runs: Sequence[tuple[_Job, int]]) -> int:
    """Count the epochs of all runs; where nothing is trained there are none."""
    settings = (job.cell.settings for job, _ in runs)
    return sum(each.epochs for each in settings if each.recipe.loss is not None)


def _tell(progress: Progress, before: int, total: int, runs: int, done: int, _: int) -> None:
    """Tell the epochs of some runs as a part of all."""
    progress(before + runs * done, total)


def _train(
    kept: Cells,
    ground: Ground,
    key: str,
    runs: Sequence[tuple[_Job, int]],
    snapshot_seconds: float,
    progress: Progress,
) -> None:
    """Train some runs of a group, and keep their figures or the reason why they have none."""
    facts = [{**job.decided_by, "seed": seed} for job, seed in runs]
    unfinished = Unfinished(
        kept.path({"group": key, "first": facts[0]}), {"runs": facts}, seconds=snapshot_seconds
    )
    settings = [job.cell.settings.replaced(seed=seed) for job, seed in runs]
    found = measure_trained(ground, settings, unfinished, progress)
    for (job, seed), figures in zip(runs, found, strict=True):
        if isinstance(figures, InputError):
            job.failures[seed] = str(figures)
        else:
            kept.save(job.decided_by, {**kept.load(job.decided_by), seed: figures})
    unfinished.remove()


def _job(kept: Cells, ground: Ground, cell: Cell, seeds: int) -> _Job:
    decided_by = {
        "settings": canonical(cell.settings),
        "files": _digests_of_files(cell.settings),
        **_measured_by(ground),
    }
    known = kept.load(decided_by)
    return _Job(cell, decided_by, [seed for seed in range(seeds) if seed not in known])


def _untrained(kept: Cells, ground: Ground, protocol: Name | None) -> Row:
    """Measure the untrained features under a protocol, or read what was measured."""
    decided_by = {"untrained": protocol, **_measured_by(ground)}
    found = kept.load(decided_by)
    if not found:
        found = {_NO_SEED: measure_untrained(ground, ground.roles[protocol])}
        kept.save(decided_by, found)
    return {"method": UNTRAINED, "options": "", **found[_NO_SEED]}


def _rows(kept: Cells, ground: Ground, job: _Job, seeds: int) -> list[Row]:
    """Describe the runs of a cell; those that failed have the reason in the place of figures."""
    settings = job.cell.settings
    without_figures = {
        "protocol": ground.roles[settings.protocol].protocol,
        **ground.environment,
    }
    runs = kept.load(job.decided_by)
    return [
        {
            "method": job.cell.method,
            "options": job.cell.options,
            "noise": settings.noise or CLEAN,
            "seed": seed,
            "settings": json.dumps(asdict(settings.replaced(seed=seed))),
            **runs.get(seed, {**without_figures, "failure": job.failures.get(seed)}),
        }
        for seed in range(seeds)
    ]


def _measured_by(ground: Ground) -> dict[str, Any]:
    """Name what else decides figures: the K, and the version of this program."""
    return {"recall_at": list(ground.recall_at), "dml": ground.environment["dml"]}


def _digests_of_files(settings: Settings) -> dict[str, str]:
    """Hash the files that decide the labels: corrected ones, and those that a noise spec names."""
    options = [*NoiseSpec.parse(settings.noise).options.values()] if settings.noise else []
    options.append(settings.labels)
    files = [Path(value) for value in options if isinstance(value, str) and Path(value).is_file()]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _digest_of_rows(features: Features) -> str:
    """Hash ids, labels, splits and all else that the store says about its readable rows."""
    columns = {name: features.rows[name].to_pylist() for name in features.rows.column_names}
    return hashlib.sha256(json.dumps(columns, sort_keys=True).encode()).hexdigest()
