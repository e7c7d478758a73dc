"""From the rows of an ablation to the lines of its table: means, intervals, paired differences."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.choices.grid import UNTRAINED, refuse_unknown_baseline
from pipeline.measures.comparison import Difference, paired_difference
from pipeline.measures.intervals import mean_and_interval
from pipeline.runs.results import SELECTED, Row, pick_metric


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds; the half width of its 95 % interval is NaN for one seed."""

    mean: float
    half: float


@dataclass(frozen=True)
class Line:
    """One method with its options under one noise and protocol.

    Attributes:
        protocol: which rows trained and which were searched.
        noise: its spec; "0" = labels as given.
        realised: share of labels that it changed, averaged over seeds; None without noise.
        method: the method's name.
        options: what distinguishes it from the method's other lines.
        seeds: number of seeds behind the figures.
        value: the metric after the last epoch, or None if it failed.
        difference: to the baseline on equal seeds; None for the baseline itself.
        selected: the metric at the epoch that validation prefers.
        validation: MAP@R on validation rows at that epoch, averaged over seeds.
        is_preferred: whether validation prefers these options to the method's others.
        auc: of finding the wrong labels, averaged over seeds.
        seconds: of training all seeds.
        failure: why there are no figures.
    """

    protocol: str
    noise: str
    realised: float | None
    method: str
    options: str
    seeds: int
    value: Estimate | None
    difference: Difference | None
    selected: Estimate | None
    validation: float | None
    is_preferred: bool
    auc: float | None
    seconds: float | None
    failure: str | None


@dataclass(frozen=True)
class Summary:
    """A table's lines, and what they show.

    Attributes:
        metric: its name.
        baseline: the method that others are compared with.
        lines: by protocol and noise; the untrained features first in each.
        store: fingerprint of the features.
    """

    metric: str
    baseline: str
    lines: list[Line]
    store: str


def summarise(
    rows: Sequence[Row], *, metric: str | None = None, baseline: str | None = None
) -> Summary:
    """Average an ablation's rows over seeds.

    The baseline of a grid is its combination that validation prefers, or the first without
    validation; all combinations are compared with it.

    Args:
        rows: as `read_results` gives them.
        metric: None = the first.
        baseline: None = the first method that trains.

    Raises:
        InputError: there is no such metric or baseline.
    """
    metric = pick_metric(metric, rows)
    methods = list(dict.fromkeys(row["method"] for row in rows if row["method"] != UNTRAINED))
    refuse_unknown_baseline(baseline, methods)
    baseline = baseline or methods[0]
    lines: list[Line] = []
    for protocol, noise in dict.fromkeys(
        (row["protocol"], row["noise"]) for row in rows if row["method"] != UNTRAINED
    ):
        block = [
            row
            for row in rows
            if row["protocol"] == protocol and (row["noise"] == noise or row["method"] == UNTRAINED)
        ]
        lines += _block(block, protocol, noise, metric, baseline)
    return Summary(metric, baseline, lines, rows[0]["store"])


def _block(
    rows: Sequence[Row], protocol: str, noise: str, metric: str, baseline: str
) -> list[Line]:
    """Make the lines of one protocol and noise."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["options"]), []).append(row)
    preferred = _preferred(groups)
    compared = next(
        (key for key in groups if key[0] == baseline and key in preferred),
        next(key for key in groups if key[0] == baseline),
    )
    seeds = {row["seed"] for row in rows if row["method"] != UNTRAINED}
    against = _by_seed(groups[compared], metric, seeds)
    return [
        Line(
            protocol,
            noise,
            _mean(row["realised_noise_rate"] for row in rows),
            *key,
            seeds=len(_values(group, metric)),
            value=_estimate(group, metric),
            difference=None
            if key == compared
            else paired_difference(_by_seed(group, metric, seeds), against),
            selected=_selected(group, metric),
            validation=_mean(row["validation_map@r"] for row in group),
            is_preferred=key in preferred,
            auc=_mean(row["detection_auc"] for row in group),
            seconds=_sum(row["seconds"] for row in group),
            failure=group[0]["failure"],
        )
        for key, group in groups.items()
    ]


def _preferred(groups: Mapping[tuple[str, str], list[Row]]) -> set[tuple[str, str]]:
    """Pick the combination with the best validation MAP@R of each method that has several."""
    found = set()
    scores = {key: _mean(row["validation_map@r"] for row in group) for key, group in groups.items()}
    for _, keys in itertools.groupby(sorted(groups), key=lambda key: key[0]):
        measured = {key: score for key in keys if (score := scores[key]) is not None}
        if len(measured) > 1:
            # Of equal combinations the first in the table.
            found.add(
                max((key for key in groups if key in measured), key=lambda key: measured[key])
            )
    return found


def _by_seed(rows: Sequence[Row], metric: str, seeds: Iterable[int]) -> dict[int, float]:
    """Find the figure of every seed; the untrained features have the same for all."""
    if rows[0]["method"] == UNTRAINED:
        value: float = rows[0][metric.removeprefix(SELECTED)]
        return dict.fromkeys(seeds, value)
    return {row["seed"]: row[metric] for row in rows if row[metric] is not None}


def _values(rows: Sequence[Row], metric: str) -> list[float]:
    return [row[metric] for row in rows if row.get(metric) is not None]


def _estimate(rows: Sequence[Row], metric: str) -> Estimate | None:
    if rows[0]["method"] == UNTRAINED:  # which has one figure, whatever epoch is asked for
        metric = metric.removeprefix(SELECTED)
    values = _values(rows, metric)
    return Estimate(*mean_and_interval(np.array(values))) if values else None


def _selected(rows: Sequence[Row], metric: str) -> Estimate | None:
    """Estimate the metric at the selected epoch, where the table shows the last one's."""
    name = SELECTED + metric.removeprefix(SELECTED)
    return None if rows[0]["method"] == UNTRAINED else _estimate(rows, name)


def _mean(values: Iterable[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _sum(values: Iterable[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) if known else None
