"""Trying candidates on held-out rows: who is asked, who may answer, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.auto.candidates import POWER, REFERENCES, UNTRAINED, Candidate
from pipeline.auto.folds import Fold
from pipeline.auto.scores import Queries, Scores
from pipeline.choices.recipes import AGREEMENT
from pipeline.choices.settings import Settings
from pipeline.measures.metrics import per_query
from pipeline.program import heads
from pipeline.program.rows import mapped, tiles
from pipeline.selection._state import DOUBTFUL, State
from pipeline.selection.agreement import raised
from pipeline.training.closed_form import head_of, statistics_of, weigh
from pipeline.transforms.fitting import fit
from pipeline.transforms.transform import Transform


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


def state_for(trials: Trials, candidate: Candidate) -> State:
    """Take what a candidate's selection knows of all training rows, at its power."""
    state = state_of(trials, candidate.selection)
    return state if candidate.power == POWER else raised(state, candidate.power / POWER)


def trusted(trials: Trials, divided: list[Fold]) -> list[Fold]:
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


def queries_of(trials: Trials, divided: list[Fold]) -> Queries:
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


def attempt(
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
    state = _part(state_for(trials, group[0]), fold.fit.to(device))
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
