"""Choosing a closed form, its strength, a transform and a selection within some seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.auto.candidates import POWER, REFERENCES, UNTRAINED, Candidate, candidates, milder
from pipeline.auto.folds import Fold, folds
from pipeline.auto.scores import Queries, Scores, evidence, is_above, is_better
from pipeline.choices.recipes import AGREEMENT
from pipeline.choices.settings import Settings
from pipeline.measures.metrics import per_query
from pipeline.program import heads
from pipeline.program.learner import generator
from pipeline.program.rows import mapped, tiles
from pipeline.selection._state import DOUBTFUL, State
from pipeline.selection.agreement import raised
from pipeline.training.closed_form import head_of, statistics_of, weigh
from pipeline.training.protocol import Name
from pipeline.transforms.fitting import fit
from pipeline.transforms.transform import Transform

Progress = Callable[[int, int], None]


class Tried(NamedTuple):
    """One candidate on the held-out rows.

    Attributes:
        name: of the candidate.
        recall_at_1: in [0, 1], mean over trusted queries; None where time was over before.
        map_at_r: the same.
        evidence: by how many standard errors it is above the reference, the smaller one of both
            measures.
    """

    name: str
    recall_at_1: float | None
    map_at_r: float | None
    evidence: float | None


class Choice(NamedTuple):
    """What was chosen.

    Attributes:
        candidate: the way to make the head.
        reference: the one that others had to beat.
        tried: all candidates, in the order in which they were tried.
        seconds: that choosing took.
        state: what the candidate's selection knows of all training rows.
    """

    candidate: Candidate
    reference: Candidate
    tried: tuple[Tried, ...]
    seconds: float
    state: State


def choice_facts(choice: Choice) -> dict[str, Any]:
    """Write a choice as plain values, for a record."""
    return {
        "chosen": choice.candidate.name,
        "loss": choice.candidate.loss,
        "selection": choice.candidate.selection,
        "transform": choice.candidate.transform,
        "options": dict(choice.candidate.options),
        "reference": choice.reference.name,
        "seconds": round(choice.seconds, 3),
        "tried": [each._asdict() for each in choice.tried],
    }


class Trials(NamedTuple):
    """What every trial stands on.

    Attributes:
        raw: (N, F) features of the training rows.
        labels: (N,) int64, as given.
        num_classes: C.
        settings: as asked for.
        states: what each selection knows, by its name; each looks once, at rooted features.
    """

    raw: Tensor
    labels: Tensor
    num_classes: int
    settings: Settings
    states: dict[str, State]


def choose(
    raw: Tensor,
    labels: Tensor,
    num_classes: int,
    protocol: Name,
    settings: Settings,
    *,
    progress: Progress = lambda done, total: None,
) -> Choice:
    """Try candidates on held-out rows until the time is over, and choose one.

    The reference of the protocol is kept unless its form with milder weights is above it
    (`scores.is_above`) or another candidate is clearly better (`scores.is_better`); of several such
    the one of largest sum of both measures is taken. Nothing is trained unless that is above the
    raw features, or where no row can say. Labels are as given, wrong ones included; queries count
    as far as `agreement` trusts theirs.

    Args:
        raw: (N, F) features of the training rows, of any float type.
        labels: (N,) int64 in 0..C-1, as given.
        num_classes: C.
        protocol: what the held-out rows are to resemble.
        settings: with `seed`, `dim` and `budget`, in seconds; 0 takes the reference untried, and
            with any other the reference and the raw features are always tried.
        progress: is told the finished and the total trials.
    """
    begun = time.perf_counter()
    reference, waiting = REFERENCES[protocol], candidates(protocol)
    divided = folds(protocol, labels.cpu(), generator(settings.seed, "folds"))
    trials = Trials(raw, labels, num_classes, settings, {})
    found: dict[Candidate, Scores] = {}
    queries: Queries | None = None
    if divided and settings.budget > 0:
        divided = _trusted(trials, divided)
        queries = _queries(trials, divided)
    can_tell = queries is not None and bool(queries.weights.any())
    groups = [list(group) for _, group in groupby(waiting, key=_shared)] if can_tell else []
    for group in groups:
        spent = time.perf_counter() - begun
        # The time of a group is that of those before: no budget is passed by much.
        is_over = bool(found) and spent + spent / len(found) * len(group) > settings.budget
        if is_over and {reference, UNTRAINED} <= found.keys():
            break
        found |= dict(_try(trials, group, divided))
        progress(len(found), len(waiting))
    progress(len(waiting), len(waiting))
    best = reference if settings.budget == 0 else _best(queries, found, reference)
    tried = tuple(_report(each, queries, found, reference) for each in waiting)
    state = _state_for(trials, best)
    return Choice(best, reference, tried, time.perf_counter() - begun, state)


def _shared(candidate: Candidate) -> tuple[str, str, float, object]:
    """Tell what candidates of one group have in common: transform, weights, shrinkage."""
    shrinkage = dict(candidate.options).get("shrinkage")
    return candidate.transform, candidate.selection, candidate.power, shrinkage


def _state_for(trials: Trials, candidate: Candidate) -> State:
    """Take what a candidate's selection knows of all training rows, at its power."""
    state = state_of(trials, candidate.selection)
    return state if candidate.power == POWER else raised(state, candidate.power / POWER)


def state_of(trials: Trials, selection: str) -> State:
    """Let a selection look at all training rows, once."""
    if selection not in trials.states:
        own = trials.settings.replaced(
            loss=REFERENCES["query-gallery"].loss, selection=selection, options={}
        )
        transform = fit(REFERENCES["query-gallery"].transform, lambda: tiles(trials.raw))
        rows = mapped(transform, trials.raw)
        trials.states[selection] = weigh(rows, trials.labels, trials.num_classes, own)
    return trials.states[selection]


def _trusted(trials: Trials, divided: list[Fold]) -> list[Fold]:
    """Take doubtful rows out of the galleries that heads are computed from.

    A head that follows wrong labels moves these very rows to the classes that they are labelled
    with, and would be praised for it. Where no row is trusted, all stay.
    """
    is_trusted = state_of(trials, AGREEMENT).weights.cpu() >= DOUBTFUL
    found = []
    for fold in divided:
        left = None if fold.gallery is None else fold.gallery[is_trusted[fold.gallery]]
        found.append(fold if left is None or not len(left) else fold._replace(gallery=left))
    return found


def _queries(trials: Trials, divided: list[Fold]) -> Queries:
    """Collect trust and labels of the queries of all folds; those without a match count 0."""
    trust = state_of(trials, AGREEMENT).weights.cpu().double()
    labels = trials.labels.cpu()
    weights = []
    for fold in divided:
        searched = fold.query if fold.gallery is None else fold.gallery
        there = labels[searched].bincount(minlength=trials.num_classes)[labels[fold.query]]
        has_match = there > (1 if fold.gallery is None else 0)
        weights.append(trust[fold.query] * has_match)
    rows = torch.cat([fold.query for fold in divided])
    return Queries(torch.cat(weights), labels[rows])


def _try(
    trials: Trials, group: list[Candidate], divided: list[Fold]
) -> Iterator[tuple[Candidate, Scores]]:
    """Make the heads of a group on every fold and let the held-out rows search."""
    parts: dict[Candidate, list[Scores]] = {each: [] for each in group}
    for fold in divided:
        for candidate, scores in _on_fold(trials, group, fold):
            parts[candidate].append(scores)
    for candidate, found in parts.items():
        yield candidate, Scores(*(torch.cat(each) for each in zip(*found, strict=True)))


def _on_fold(
    trials: Trials, group: list[Candidate], fold: Fold
) -> Iterator[tuple[Candidate, Scores]]:
    device = trials.raw.device
    own = trials.raw[fold.fit.to(device)]
    if group[0].loss == UNTRAINED.loss:
        yield group[0], _search(trials, fold, lambda rows: functional.normalize(rows.float()))
        return
    transform = fit(group[0].transform, lambda: iter([own]))
    state = _part(_state_for(trials, group[0]), fold.fit.to(device))
    labels = trials.labels[fold.fit.to(device)]
    statistics = statistics_of(transform(own), labels, state, trials.num_classes)
    for candidate in group:
        head = head_of(statistics, candidate.settings(trials.settings), device)
        yield candidate, _search(trials, fold, _embedding(head, transform))


def _embedding(head: dict[str, Tensor], transform: Transform) -> Callable[[Tensor], Tensor]:
    return lambda rows: heads.embed(head, transform(rows))


def _part(state: State, rows: Tensor) -> State:
    """Take some rows out of what a selection knows."""
    extras = {name: value[rows] for name, value in state.extras.items() if name.startswith("other")}
    return State(state.weights[rows], state.scores[rows], state.noise_rate, extras)


def _search(trials: Trials, fold: Fold, space: Callable[[Tensor], Tensor]) -> Scores:
    """Let a fold's queries search, with labels as given."""
    device = trials.raw.device
    query = fold.query.to(device)
    queries, labels = space(trials.raw[query]), trials.labels[query]
    gallery, names = queries, labels
    if fold.gallery is not None:
        rows = fold.gallery.to(device)
        gallery, names = space(trials.raw[rows]), trials.labels[rows]
    own = torch.arange(len(query), device=device) if fold.gallery is None else None
    found = per_query(queries, labels, gallery, names, recall_at=(1,), own_rows=own)
    right, _, _, precision = found.values.nan_to_num(0.0).unbind(dim=1)
    return Scores(right, precision)


def _best(
    queries: Queries | None, found: dict[Candidate, Scores], reference: Candidate
) -> Candidate:
    if queries is None or not found:
        return UNTRAINED
    usual, mild = found[reference], milder(reference)
    better = [each for each in found if is_better(queries, found[each], usual)]
    if mild in found and is_above(queries, found[mild], usual):
        better.append(mild)
    best = max(better, key=lambda each: sum(map(queries.mean, found[each])), default=reference)
    return best if is_above(queries, found[best], found[UNTRAINED]) else UNTRAINED


def _report(
    candidate: Candidate,
    queries: Queries | None,
    found: dict[Candidate, Scores],
    reference: Candidate,
) -> Tried:
    if queries is None or candidate not in found:
        return Tried(candidate.name, None, None, None)
    scores = found[candidate]
    means = [queries.mean(each) for each in scores]
    above = min(evidence(queries, scores, found[reference]))
    return Tried(candidate.name, means[0], means[1], above)
