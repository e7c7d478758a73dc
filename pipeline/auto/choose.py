"""Choosing a closed form, its strength, a transform and a selection within some seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import groupby
from typing import Any, NamedTuple

from torch import Tensor

from pipeline.auto.candidates import REFERENCES, UNTRAINED, Candidate, candidates, milder
from pipeline.auto.folds import folds
from pipeline.auto.scores import Queries, Scores, evidence, is_above, is_better
from pipeline.auto.trials import Trials, attempt, queries_of, state_for, trusted
from pipeline.choices.settings import Settings
from pipeline.program.learner import generator
from pipeline.selection._state import State
from pipeline.training.protocol import Name

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
        "power": choice.candidate.power,
        "reference": choice.reference.name,
        "seconds": round(choice.seconds, 3),
        "tried": [each._asdict() for each in choice.tried],
    }


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
        divided = trusted(trials, divided)
        queries = queries_of(trials, divided)
    can_tell = queries is not None and bool(queries.weights.any())
    groups = [list(group) for _, group in groupby(waiting, key=_shared)] if can_tell else []
    for group in groups:
        spent = time.perf_counter() - begun
        # The time of a group is that of those before: no budget is passed by much.
        is_over = bool(found) and spent + spent / len(found) * len(group) > settings.budget
        if is_over and {reference, UNTRAINED} <= found.keys():
            break
        found |= dict(attempt(trials, group, divided))
        progress(len(found), len(waiting))
    progress(len(waiting), len(waiting))
    best = reference if settings.budget == 0 else _best(queries, found, reference)
    tried = tuple(_report(each, queries, found, reference) for each in waiting)
    state = state_for(trials, best)
    return Choice(best, reference, tried, time.perf_counter() - begun, state)


def _shared(candidate: Candidate) -> tuple[str, str, float, object]:
    """Tell what candidates of one group have in common: transform, weights, shrinkage."""
    shrinkage = dict(candidate.options).get("shrinkage")
    return candidate.transform, candidate.selection, candidate.power, shrinkage


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
