"""What a report is about: runs and ablations of one store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.errors import InputError
from cache.store import FeatureStore
from pipeline.reporting.comparison import method_of
from pipeline.runs.opening import open_run
from pipeline.runs.record import Run, is_run
from pipeline.runs.results import PARQUET, Row, read_results


@dataclass(frozen=True)
class Sources:
    """What a report is about.

    Attributes:
        runs: trained one by one.
        ablations: folder -> its rows.
        store: of the runs; None without runs.
    """

    runs: list[Run]
    ablations: dict[Path, list[Row]]
    store: FeatureStore | None


def open_sources(paths: Sequence[Path], store: str | Path | None = None) -> Sources:
    """Open runs and ablations, and check that they can stand side by side.

    Args:
        paths: folders of runs and of ablations.
        store: that the runs were trained on; None = the one that the first run's record names.

    Raises:
        InputError: a folder is neither, or they are of different stores or different features.
    """
    folders = list({path.resolve(): path for path in paths}.values())
    runs, ablations = [], {}
    for path in folders:
        if is_run(path):
            runs.append(Run.open(path))
        elif (path / PARQUET).is_file():
            ablations[path] = read_results(path)
        else:
            raise InputError(f"{path} is neither a run nor an ablation: {_advice(path)}")
    _refuse_mixture(runs, ablations)
    if not runs:
        if store is not None:
            raise InputError("--store: the figures of an ablation need no store, leave it out")
        return Sources([], ablations, None)
    # In the order of the ablations' methods, so that a method has one colour on the page.
    methods = list(dict.fromkeys(row["method"] for rows in ablations.values() for row in rows))
    place = {method: at for at, method in enumerate(methods)}
    runs.sort(key=lambda run: place.get(method_of(run.settings), len(place)))
    _, opened = open_run(runs[0].path, store)
    return Sources(runs, ablations, opened.choose(runs[0].settings.features))


def _advice(path: Path) -> str:
    """Say what to name instead of a folder."""
    if path.is_dir() and any(is_run(below) for below in path.iterdir()):
        return f"name the runs in it, {path / '*'}"
    return "name folders that `dml train` or `dml ablate` has made"


def _refuse_mixture(runs: Sequence[Run], ablations: dict[Path, list[Row]]) -> None:
    """Raise InputError where figures of different stores would stand side by side."""
    stores = {str(run.path): run.record["store"]["fingerprint"] for run in runs}
    stores |= {str(path): rows[0]["store"] for path, rows in ablations.items()}
    (first, expected), *others = stores.items()
    for path, found in others:
        if found != expected:
            raise InputError(
                f"{path} is of a store with fingerprint {found[:12]}, {first} of one with "
                f"{expected[:12]}: make one report for each store"
            )
    for run in runs:
        if run.settings.features != runs[0].settings.features:
            raise InputError(
                f"{run.path} was trained on the features {run.settings.features or 'by default'}, "
                f"{runs[0].path} on {runs[0].settings.features or 'those by default'}: make one "
                "report for each kind of features"
            )
