"""Trains and measures a grid of cells on one store; what is finished is never trained again.

The runs of a cell train as one program. Seeds that are added later train beside each other, apart
from the earlier ones: together or apart, a run gives the same up to the order of additions. The
test rows are looked at once for each run, after its training, with their true labels.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cache.errors import InputError
from cache.store import Features, FeatureStore
from pipeline.ablation.trial import Ground, measure_trained, measure_untrained
from pipeline.choices.grid import CLEAN, UNTRAINED, Cell, canonical
from pipeline.labels.corruption import NoiseSpec
from pipeline.runs.cells import Cells
from pipeline.runs.results import Row, metric_names, write_results
from pipeline.runs.unfinished import Unfinished
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


@dataclass(frozen=True)
class _Job:
    """A cell, what decides its figures, and the seeds that have none yet."""

    cell: Cell
    decided_by: Mapping[str, Any]
    missing: list[int]

    @property
    def epochs(self) -> int:
        """Count what is to be trained now; all seeds train at once."""
        settings = self.cell.settings
        return settings.epochs if self.missing and settings.recipe.loss is not None else 0


def ablate(
    store: FeatureStore,
    cells: Sequence[Cell],
    folder: Path,
    *,
    seeds: int,
    recall_at: tuple[int, ...] = (1,),
    device: str = "auto",
    command: str = "",
    progress: Progress = lambda done, total: None,
    snapshot_seconds: float = 30.0,
) -> Ablation:
    """Train what is missing and write the results of these cells.

    A cell whose training fails is recorded with the reason, and tried again by the next call; the
    others go on. Called again after an interruption it writes the same results, but for `seconds`.

    Args:
        store: a complete store.
        cells: as `grid.plan` lists them.
        folder: for finished cells and results; may hold those of earlier calls on the same store.
        seeds: runs of each cell, at least 1; their seeds are 0, 1, ...
        recall_at: the K of Recall@K.
        device: "auto", "cpu", "cuda" or "mps".
        command: what was typed, for the record.
        progress: is told the finished and the total epochs of the cells that are trained.
        snapshot_seconds: the least time between two snapshots of a training to go on from.

    Raises:
        InputError: cells, store or folder cannot be used; nothing was trained.
        StoreIncompleteError: the extraction has not finished.
    """
    if seeds < 1:
        raise InputError(f"the number of seeds is {seeds}: expected at least 1")
    features = store.read()
    fingerprint = store.fingerprint.digest()
    kept = Cells(folder, {"fingerprint": fingerprint, "rows": _digest_of_rows(features)})
    ground = Ground.prepare(
        features, [cell.settings for cell in cells], recall_at=recall_at, device=device
    )
    rows = [_untrained(kept, ground, protocol) for protocol in ground.roles]
    jobs = [_job(kept, ground, cell, seeds) for cell in cells]
    reasons = list(_train_missing(kept, ground, jobs, snapshot_seconds, progress))
    for job, reason in zip(jobs, reasons, strict=True):
        rows += _rows(kept, ground, job, seeds, reason)
    rows = [{**row, "store": fingerprint, "command": command} for row in rows]
    return Ablation(
        rows=write_results(folder, rows, metric_names(recall_at)),
        trained=sum(len(job.missing) for job, why in zip(jobs, reasons, strict=True) if not why),
        reused=sum(seeds - len(job.missing) for job in jobs),
        failures=[f"{job.cell}: {why}" for job, why in zip(jobs, reasons, strict=True) if why],
    )


def _train_missing(
    kept: Cells, ground: Ground, jobs: Sequence[_Job], snapshot_seconds: float, progress: Progress
) -> Iterator[str | None]:
    """Train cell after cell; tell for each why it failed, or None."""
    done, total = 0, sum(job.epochs for job in jobs)
    for job in jobs:
        tell = functools.partial(_tell, progress, done, total)
        yield _train(kept, ground, job, snapshot_seconds, tell) if job.missing else None
        done += job.epochs


def _tell(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    """Tell the epochs of one cell as a part of all."""
    progress(before + done, total)


def _train(
    kept: Cells, ground: Ground, job: _Job, snapshot_seconds: float, progress: Progress
) -> str | None:
    """Train and keep what is missing of a cell; if that fails, say why."""
    unfinished = Unfinished(
        kept.path(job.decided_by),
        {**job.decided_by, "seeds": job.missing},
        seconds=snapshot_seconds,
    )
    try:
        found = measure_trained(ground, job.cell.settings, job.missing, unfinished, progress)
    except InputError as error:
        unfinished.remove()
        return str(error)
    kept.save(job.decided_by, {**kept.load(job.decided_by), **found})
    unfinished.remove()
    return None


def _job(kept: Cells, ground: Ground, cell: Cell, seeds: int) -> _Job:
    decided_by = {
        "settings": canonical(cell.settings),
        "files": _digests_of_files(cell.settings.noise),
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


def _rows(kept: Cells, ground: Ground, job: _Job, seeds: int, reason: str | None) -> list[Row]:
    """Describe the runs of a cell; those that failed have the reason in the place of figures."""
    settings = job.cell.settings
    failed = {
        "failure": reason,
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
            **runs.get(seed, failed),
        }
        for seed in range(seeds)
    ]


def _measured_by(ground: Ground) -> dict[str, Any]:
    """Name what else decides figures: the K, and the version of this program."""
    return {"recall_at": list(ground.recall_at), "dml": ground.environment["dml"]}


def _digests_of_files(noise: str | None) -> dict[str, str]:
    """Hash the files that a noise spec names: their content decides the labels."""
    options = NoiseSpec.parse(noise).options.values() if noise else ()
    files = [Path(value) for value in options if isinstance(value, str) and Path(value).is_file()]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _digest_of_rows(features: Features) -> str:
    """Hash ids, labels, splits and all else that the store says about its readable rows."""
    columns = {name: features.rows[name].to_pylist() for name in features.rows.column_names}
    return hashlib.sha256(json.dumps(columns, sort_keys=True).encode()).hexdigest()
