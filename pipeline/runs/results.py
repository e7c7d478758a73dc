"""The results of an ablation as one tidy table: `results.parquet` and the same as `results.csv`.

One row for each method, options, noise, protocol and seed, and one for the untrained features of
each protocol, which have no seed. Metrics and rates are shares in [0, 1]; an empty field is
something that was not measured or makes no sense. `selected_` stands before the metrics of the
epoch that validation prefers; the others are those of the last epoch. `failure` says why a cell has
no figures. `way` says how steps were taken (see `pipeline.program.loop`). Only `seconds` depends on
how fast the machine was at that moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from cache.errors import InputError
from pipeline.choices import catalogue
from pipeline.runs.cells import write

Row = dict[str, Any]
PARQUET, CSV = "results.parquet", "results.csv"
SELECTED = "selected_"
_DESCRIPTION = {
    "method": pa.string(),
    "options": pa.string(),
    "noise": pa.string(),
    "protocol": pa.string(),
    "seed": pa.int64(),
    "failure": pa.string(),
}
_FIGURES = {
    "nominal_noise_rate": pa.float64(),
    "realised_noise_rate": pa.float64(),
    "estimated_noise_rate": pa.float64(),
    "dropped": pa.int64(),
    "detection_precision": pa.float64(),
    "detection_recall": pa.float64(),
    "detection_auc": pa.float64(),
    "kept_purity": pa.float64(),
    "train_rows": pa.int64(),
    "queries": pa.int64(),
    "queries_without_match": pa.int64(),
    "epochs": pa.int64(),
    "selected_epoch": pa.int64(),
    "validation_map@r": pa.float64(),
}
_ORIGIN = {
    "seconds": pa.float64(),
    "settings": pa.string(),
    "store": pa.string(),
    "device": pa.string(),
    "way": pa.string(),
    "hardware": pa.string(),
    "cores": pa.int64(),
    "threads": pa.int64(),
    "python": pa.string(),
    "dml": pa.string(),
    "torch": pa.string(),
    "numpy": pa.string(),
    "zarr": pa.string(),
    "git": pa.string(),
    "command": pa.string(),
}
_PLAIN = {**_DESCRIPTION, **_FIGURES, **_ORIGIN}


def metric_names(recall_at: Sequence[int]) -> list[str]:
    """Name the retrieval metrics in the order of their columns."""
    return [*(f"recall@{k}" for k in recall_at), "precision@1", "r_precision", "map@r"]


def write_results(folder: Path, rows: Sequence[Row], metrics: Sequence[str]) -> list[Row]:
    """Write both files; returns the rows with all columns.

    Args:
        folder: of the ablation.
        rows: column -> value; what a row lacks is empty.
        metrics: names of the retrieval metrics, in order.
    """
    of_metrics = {f"{prefix}{name}": pa.float64() for prefix in ("", SELECTED) for name in metrics}
    schema = pa.schema({**_DESCRIPTION, **_FIGURES, **of_metrics, **_ORIGIN})
    table = pa.Table.from_pylist(list(rows), schema=schema)
    packed, plain = pa.BufferOutputStream(), pa.BufferOutputStream()
    pq.write_table(table, packed)
    pa.csv.write_csv(table, plain)
    write(folder / CSV, plain.getvalue().to_pybytes())
    write(folder / PARQUET, packed.getvalue().to_pybytes())
    completed: list[Row] = table.to_pylist()
    return completed


def read_results(folder: Path) -> list[Row]:
    """Read the rows again; raises InputError where there are none."""
    path = folder / PARQUET
    if not path.is_file():
        raise InputError(
            f"no results at {path}: run `dml ablate --out {folder}` to the end, or name its folder"
        )
    try:
        with pq.ParquetFile(path) as file:
            rows: list[Row] = file.read().to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} is damaged: run dml ablate again, it trains nothing") from error
    if not rows or not _DESCRIPTION.keys() <= rows[0].keys():
        raise InputError(f"{path} holds no results of an ablation: name the folder of dml ablate")
    return rows


def metrics_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Name the retrieval metrics that at least one row has."""
    rows = list(rows)
    return [
        name
        for name in rows[0]
        if name not in _PLAIN and any(row[name] is not None for row in rows)
    ]


def pick_metric(name: str | None, rows: Sequence[Row]) -> str:
    """Check a metric's name; None takes the first, Recall@K with the smallest K."""
    known = metrics_of(rows)
    if name is not None and name not in known:
        raise catalogue.unknown("metric", name, known)
    return name or known[0]
