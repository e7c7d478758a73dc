"""A report on runs and ablations of one store: figures with their numbers, worst queries, facts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from cache.errors import InputError
from cache.store import FeatureStore
from pipeline.choices import catalogue
from pipeline.choices.grid import refuse_unknown_baseline
from pipeline.probe import probe
from pipeline.reporting.comparison import Comparison, method_of
from pipeline.reporting.embedding_map import embedding_map
from pipeline.reporting.examples import Examples, examples_of
from pipeline.reporting.facts import facts_of
from pipeline.reporting.figure import Figure
from pipeline.reporting.measuring import Detail, Measured, measure
from pipeline.reporting.noise_curves import noise_curves
from pipeline.reporting.noise_rates import noise_rates
from pipeline.reporting.pair_weights import pair_weights
from pipeline.reporting.recall_curves import recall_curves
from pipeline.reporting.score_histograms import score_histogram
from pipeline.reporting.section import Section
from pipeline.reporting.sources import Sources
from pipeline.reporting.training_curves import training_curves
from pipeline.runs.record import Run
from pipeline.runs.results import SELECTED, metric_names

Progress = Callable[[int, int], None]
DEFAULT_RECALL = (1, 2, 4, 8, 16, 32)
PROBED_SECONDS = 60.0  # of training, that probing may repeat without being asked


@dataclass(frozen=True)
class Report:
    """What a page shows.

    Attributes:
        comparisons: the tables.
        sections: the figures, in order.
        examples: worst queries of some runs; empty without runs.
        facts: title -> name -> value.
        runs: number of runs that were measured.
        seconds: duration.
    """

    comparisons: tuple[Comparison, ...]
    sections: tuple[Section, ...]
    examples: tuple[Examples, ...]
    facts: dict[str, dict[str, str]]
    runs: int
    seconds: float


def report(
    sources: Sources,
    *,
    recall_at: tuple[int, ...] = DEFAULT_RECALL,
    metric: str | None = None,
    baseline: str | None = None,
    with_probe: bool | None = None,
    device: str = "auto",
    progress: Progress = lambda done, total: None,
) -> Report:
    """Measure, draw and describe.

    Args:
        sources: as `open_sources` gives them.
        recall_at: the K of Recall@K of the runs; an ablation has its own.
        metric: of the tables and the curves over noise; None = the first.
        baseline: the method that others are compared with; None = the first.
        with_probe: whether runs are trained again for their pair weights; None = those that took
            a minute together.
        device: "auto", "cpu", "cuda" or "mps".
        progress: is told the finished and the total searches.

    Raises:
        InputError: there is no such metric, baseline or device.
        StoreIncompleteError: the extraction has not finished.
    """
    begun = time.perf_counter()
    _refuse_unknown(sources, recall_at, metric, baseline)
    comparisons = [
        Comparison.of(str(path), rows, metric=metric, baseline=baseline)
        for path, rows in sources.ablations.items()
    ]
    sections, examples = [], []
    if sources.store is not None:
        measured = measure(
            sources.runs, sources.store, recall_at=recall_at, device=device, progress=progress
        )
        comparisons.append(Comparison.of("runs", measured.rows, metric=metric, baseline=baseline))
        examples = examples_of(measured, sources.store)
        sections = [
            _training(sources.runs),
            _scores(sources.runs, measured.details),
            _maps(measured),
            _pairs(sources.runs, sources.store, measured.details, with_probe, device),
        ]
    return Report(
        tuple(comparisons),
        (_noise(comparisons), _recall(comparisons), *sections),
        tuple(examples),
        facts_of(sources),
        len(sources.runs),
        time.perf_counter() - begun,
    )


def _refuse_unknown(
    sources: Sources, recall_at: tuple[int, ...], metric: str | None, baseline: str | None
) -> None:
    """Raise InputError for names that the runs will not have, before they are measured."""
    if not sources.runs:
        return
    known = metric_names(recall_at)
    if any(run.record["validation"] for run in sources.runs):
        known += [SELECTED + name for name in known]
    if metric is not None and metric not in known:
        raise catalogue.unknown("metric", metric, known)
    refuse_unknown_baseline(baseline, [method_of(run.settings) for run in sources.runs])


def _noise(comparisons: Sequence[Comparison]) -> Section:
    curves = _of_each(comparisons, "noise", lambda each, name: noise_curves(each.summary, name))
    rates = _of_each(comparisons, "rates", lambda each, name: noise_rates(each.rows, name))
    why = (
        "a curve needs two rates of one kind of noise, 0 is one of them: for example `dml ablate "
        "--noise 0,symmetric:0.2`."
    )
    return Section(
        key="noise",
        title="Response to noise",
        text="A metric against the share of training labels that were changed; the test labels "
        "are never changed.",
        figures=(*curves, *rates),
        left_out=() if curves else (why,),
    )


def _recall(comparisons: Sequence[Comparison]) -> Section:
    figures = _of_each(comparisons, "recall", recall_curves)
    return Section(
        key="recall",
        title="Recall@K",
        text="Share of queries with at least one item of their class among the K nearest.",
        figures=figures,
        left_out=() if figures else ("only one K was measured: use --recall 1,2,4,8.",),
    )


def _of_each(
    comparisons: Sequence[Comparison],
    key: str,
    make: Callable[[Comparison, str], Sequence[Figure]],
) -> tuple[Figure, ...]:
    """Draw figures of every comparison, which say where they are from if there are several."""
    figures = []
    for number, each in enumerate(comparisons, start=1):
        origin = f"From {each.name}. " if len(comparisons) > 1 else ""
        for figure in make(each, f"{key}-{number}"):
            figures.append(replace(figure, note=f"{origin}{figure.note}"))
    return tuple(figures)


def _training(runs: Sequence[Run]) -> Section:
    figures = training_curves(runs)
    return Section(
        key="training",
        title="Training",
        text="What each run recorded after every epoch; a line for each run.",
        figures=figures,
        left_out=() if figures else ("these runs train nothing, there are no epochs.",),
    )


def _scores(runs: Sequence[Run], details: Sequence[Detail]) -> Section:
    figures: list[Figure] = []
    left_out = []
    for detail in details:
        name = f"scores-{len(figures) + 1}"
        figure = score_histogram(runs[detail.number].labels(), name=name, title=detail.name)
        if figure is None:
            left_out.append(f"{detail.name}: its selection judges no label.")
        else:
            figures.append(figure)
    return Section(
        key="scores",
        title="Scores of the labels",
        text="What the selection thinks of the training labels in the end; the truth, where it is "
        "known, serves for the colours alone.",
        figures=tuple(figures),
        left_out=tuple(left_out),
    )


def _maps(measured: Measured) -> Section:
    groups = _groups(measured.table)
    samples = [(detail.name, detail.sample) for detail in measured.details]
    if measured.before is not None:
        title = f"Untrained features, labels of {measured.details[0].name}"
        samples.insert(0, (title, measured.before))
    drawn = [
        embedding_map(sample, groups, name=f"map-{at}", title=title)
        for at, (title, sample) in enumerate(samples, start=1)
    ]
    figures = tuple(figure for figure in drawn if figure is not None)
    return Section(
        key="map",
        title="Map of the embeddings",
        text="Training rows coloured by the group of the label that they were trained with.",
        figures=figures,
        left_out=() if figures else ("there are too few training rows for a map.",),
    )


def _groups(table: pa.Table) -> dict[str, str]:
    """Name the group of each label: its superlabel where there is one."""
    if "superlabel" not in table.column_names:
        return {}
    pairs = zip(table["label"].to_pylist(), table["superlabel"].to_pylist(), strict=True)
    return {label: group for label, group in pairs if group}


def _pairs(
    runs: Sequence[Run],
    store: FeatureStore,
    details: Sequence[Detail],
    with_probe: bool | None,
    device: str,
) -> Section:
    """Probe the runs that can be, as long as it does not take long or is asked for."""
    probed, left_out, left = {}, [], PROBED_SECONDS
    for detail in details:
        run = runs[detail.number]
        left -= run.record["seconds"]
        if with_probe is False or (with_probe is None and left < 0):
            is_long = with_probe is None
            why = "training it again takes long, --probe does it" if is_long else "by --no-probe"
            left_out.append(f"{detail.name}: {why}.")
            continue
        try:
            probed[detail.name] = probe(store, run.settings, device=device)
        except InputError as error:
            left_out.append(f"{detail.name}: {error}.")
    return Section(
        key="pairs",
        title="Pair weight on noisy pairs",
        text="How much of a loss's gradient by the cosines falls on pairs that wrong labels make; "
        "the runs were trained again, seed for seed, to read it.",
        figures=pair_weights(probed),
        left_out=tuple(left_out),
    )
