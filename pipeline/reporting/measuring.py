"""Runs measured for a report: every run and the untrained features, on the features read once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache.errors import InputError
from cache.store import FeatureStore
from pipeline.choices.grid import UNTRAINED
from pipeline.evaluate import embedded, embedder, normalized, search
from pipeline.extraction.embed import pick_device
from pipeline.measures.metrics import Retrieval
from pipeline.program.rows import Rows as Features
from pipeline.program.rows import gathered
from pipeline.reporting.comparison import method_of, noise_of, options_of
from pipeline.reporting.worst_queries import Query, worst_queries
from pipeline.runs.record import Run
from pipeline.runs.results import SELECTED, Row
from pipeline.training.loading import RESIDENT, hold
from pipeline.training.protocol import Split, split

Progress = Callable[[int, int], None]
Space = Callable[[Tensor], Tensor]
_MAPPED = 2000  # rows of an embedding map
_SEED = 0  # of their choice
_SHOWN = 4  # runs whose details are shown


@dataclass(frozen=True)
class Sample:
    """Training rows that an embedding map shows.

    Attributes:
        labels: (n,) the label that was trained with, by name.
        ids: (n,) of the images.
        is_suspect: (n,) bool, taken for wrongly labelled.
        is_wrong: (n,) bool, or None where the truth is not known.
        embeddings: (n, D) float32.
        total: rows that it was chosen from.
    """

    labels: list[str]
    ids: list[str]
    is_suspect: NDArray[np.bool_]
    is_wrong: NDArray[np.bool_] | None
    embeddings: NDArray[np.float32]
    total: int


@dataclass(frozen=True)
class Detail:
    """What a report shows of one run besides its figures.

    Attributes:
        name: of the run, with its noise.
        number: of the run among those that were given.
        worst: its worst queries.
        sample: for the embedding map.
    """

    name: str
    number: int
    worst: tuple[Query, ...]
    sample: Sample


@dataclass(frozen=True)
class Measured:
    """What was measured of some runs.

    Attributes:
        rows: as in the results of an ablation, the untrained features of each protocol first.
        details: of some runs, one of each method.
        before: the first detail's sample in the untrained features; None where they do not fit.
        table: the store's readable rows.
        device: where it was measured.
    """

    rows: list[Row]
    details: list[Detail]
    before: Sample | None
    table: pa.Table
    device: str


def shown_runs(runs: Sequence[Run]) -> list[int]:
    """Choose whose details are shown: of each method the first of the runs with most noise."""
    options = options_of([run.settings for run in runs])
    best: dict[tuple[str, str], int] = {}
    for number, run in enumerate(runs):
        key = (method_of(run.settings), options[number])
        if key not in best or _rate(run) > _rate(runs[best[key]]):
            best[key] = number
    return list(best.values())[:_SHOWN]


def measure(
    runs: Sequence[Run],
    store: FeatureStore,
    *,
    recall_at: tuple[int, ...],
    device: str,
    progress: Progress = lambda done, total: None,
) -> Measured:
    """Search with every run's embeddings and with the untrained features, as `dml eval` does.

    Args:
        runs: of this store and one kind of its features.
        store: a complete store.
        recall_at: the K of Recall@K.
        device: "auto", "cpu", "cuda" or "mps".
        progress: is told the finished and the total searches.

    Raises:
        InputError: the device is not there, or a run that trains nothing is asked for and the
            features do not fit into the memory.
    """
    table = store.readable_rows()
    roles = {run.settings.protocol: split(table, run.settings.protocol) for run in runs}
    target = pick_device(device)
    most = max(len(each.gallery) + len(each.query) for each in roles.values())
    wide = 4 * store.num_features * most  # bytes of the untrained features in float32
    values, _, held = hold(store, target, beside=wide)
    is_shown = held["held"] == RESIDENT or wide <= held["memory_bytes"]
    if not is_shown and any(not run.settings.has_head for run in runs):
        raise InputError(
            f"the untrained features take {wide / 1e9:.3g} GB, which are not free: leave out the "
            "runs that train nothing, or use a machine with more memory"
        )
    names, shown = _names(roles), shown_runs(runs)
    total = len(runs) + len(roles) * is_shown
    rows: list[Row] = []
    for done, (asked, each) in enumerate(roles.items() if is_shown else ()):
        progress(done, total)
        queries, gallery = embedded(values, each, normalized)
        found = search(queries, gallery, each, recall_at, ()).average()
        rows.append(_row(runs[0], UNTRAINED, "", names[asked], found, None))
    details = []
    options = _options(runs, names)
    for number, run in enumerate(runs):
        progress(total - len(runs) + number, total)
        own, space = roles[run.settings.protocol], _space(run, target)
        queries, gallery = embedded(values, own, space)
        measured = search(queries, gallery, own, recall_at, ())
        selected = _selected(run, values, own, recall_at, target)
        protocol = names[run.settings.protocol]
        method = method_of(run.settings)
        rows.append(_row(run, method, options[number], protocol, measured.average(), selected))
        if number in shown:
            worst = worst_queries(queries, gallery, own, measured)
            details.append(Detail(_name(run), number, worst, _sample(run, table, values, space)))
    progress(total, total)
    details.sort(key=lambda detail: shown.index(detail.number))
    before = _sample(runs[shown[0]], table, values, normalized) if is_shown else None
    return Measured(_completed(rows), details, before, table, target.type)


def _rate(run: Run) -> float:
    return float(run.record["noise"]["realised_rate"]) if run.record["noise"] else 0.0


def _name(run: Run) -> str:
    noise = f", noise {run.settings.noise}" if run.settings.noise else ""
    method = method_of(run.settings)
    is_named = method in run.path.name  # as the runs of bare commands are
    return f"{run.path.name}{noise}" if is_named else f"{run.path.name}: {method}{noise}"


def _names(roles: Mapping[Any, Split]) -> dict[Any, str]:
    """Name the protocols; one that divides the rows in another way has a name of its own."""
    names: dict[Any, str] = {}
    for asked, each in roles.items():
        clashes = any(
            other.protocol == each.protocol and not np.array_equal(other.query, each.query)
            for other in roles.values()
        )
        names[asked] = f"{each.protocol} (asked for)" if clashes and asked else each.protocol
    return names


def _options(runs: Sequence[Run], protocols: Mapping[Any, str]) -> list[str]:
    """Tell runs apart that would be the same line and seed, in the end by their folders' names."""
    options = options_of([run.settings for run in runs])
    keys = [
        (method_of(run.settings), option, noise_of(run.settings), protocols[run.settings.protocol])
        for run, option in zip(runs, options, strict=True)
    ]
    seeds = [run.settings.seed for run in runs]
    lines = list(zip(keys, seeds, strict=True))
    return [
        " ".join(filter(None, [option, f"({run.path})"])) if lines.count(line) > 1 else option
        for run, option, line in zip(runs, options, lines, strict=True)
    ]


def _space(run: Run, target: torch.device) -> Space:
    return normalized if not run.settings.has_head else embedder(run, target)


def _selected(
    run: Run, values: Features, roles: Split, recall_at: tuple[int, ...], target: torch.device
) -> Retrieval | None:
    """Measure the head of the epoch that validation prefers, if there is one."""
    if run.record["validation"] is None:
        return None
    queries, gallery = embedded(values, roles, embedder(run, target, "selected"))
    return search(queries, gallery, roles, recall_at, ()).average()


def _row(
    run: Run,
    method: str,
    options: str,
    protocol: str,
    found: Retrieval,
    selected: Retrieval | None,
) -> Row:
    """Describe a run as a row of an ablation's results."""
    is_run = method != UNTRAINED
    record = run.record
    detection, validation = record["selection"]["detection"], record["validation"]
    facts: Row = {
        "method": method,
        "options": options,
        "noise": noise_of(run.settings) if is_run else None,
        "protocol": protocol,
        "seed": run.settings.seed if is_run else None,
        "failure": None,
        "realised_noise_rate": record["noise"]["realised_rate"]
        if is_run and record["noise"]
        else None,
        "estimated_noise_rate": record["selection"]["noise_rate"] if is_run else None,
        "detection_auc": detection["auc"] if is_run and detection else None,
        "validation_map@r": validation["selected_map@r"] if is_run and validation else None,
        "seconds": record["seconds"] if is_run else None,
        "store": record["store"]["fingerprint"],
    }
    chosen = {} if selected is None else selected.shares()
    return facts | found.shares() | {SELECTED + name: share for name, share in chosen.items()}


def _completed(rows: list[Row]) -> list[Row]:
    """Give every row all columns, in the order of their first appearance."""
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in columns} for row in rows]


def _sample(run: Run, table: pa.Table, values: Features, space: Space) -> Sample:
    """Choose training rows of a run and embed them."""
    labels = run.labels()
    generator = np.random.default_rng(_SEED)
    count = min(_MAPPED, labels.num_rows)
    chosen = labels.take(pa.array(np.sort(generator.permutation(labels.num_rows)[:count])))
    places = pc.index_in(chosen["id"], value_set=table["id"].combine_chunks())
    chosen = chosen.filter(places.is_valid())  # images may have been taken out of the store since
    rows = np.asarray(places.drop_null().to_numpy(), dtype=np.int64)
    order = np.argsort(rows)
    chosen = chosen.take(pa.array(order))
    has_truth = "is_wrong" in chosen.column_names
    return Sample(
        labels=chosen["label"].to_pylist(),
        ids=chosen["id"].to_pylist(),
        is_suspect=chosen["weight"].to_numpy() == 0,
        is_wrong=np.array(chosen["is_wrong"].to_pylist(), dtype=bool) if has_truth else None,
        embeddings=gathered(values, rows[order], space).float().cpu().numpy(),
        total=labels.num_rows,
    )
