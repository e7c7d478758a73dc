"""Probes a run: trains it again and measures whose pairs its loss listens to, over training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from cache.errors import InputError
from cache.store import FeatureStore
from pipeline.choices.assembly import method_of, schedule_of
from pipeline.choices.settings import Settings
from pipeline.extraction.embed import pick_device
from pipeline.labels.corrected import corrected
from pipeline.labels.training import training_labels, true_classes
from pipeline.measures.pair_share import Amounts, Tap, amounts
from pipeline.program.learner import Task, begin
from pipeline.program.loop import Program
from pipeline.program.rows import mapped, tiles
from pipeline.program.step import lessons_of
from pipeline.training.loading import pictures_of, shown_of
from pipeline.training.protocol import split
from pipeline.training.starting import start_of
from pipeline.training.validation import hold_out
from pipeline.transforms.fitting import fit

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Moment:
    """Shares at one point of the training, each in [0, 1]; None where there is no such weight.

    Attributes:
        epoch: epochs that were done.
        wrong_pull: share of the weight that pulls rows together which falls on rows of different
            true classes.
        wrong_push: share of the weight that pushes rows apart which falls on rows of one true
            class.
        wrong_positives: the same share with all pairs alike: what a loss that trusts every label
            and weighs no pair would give.
        wrong_negatives: the same for pairs of different given labels.
    """

    epoch: int
    wrong_pull: float | None
    wrong_push: float | None
    wrong_positives: float | None
    wrong_negatives: float | None


def probe(
    store: FeatureStore,
    settings: Settings,
    *,
    points: int = 9,
    batches: int = 20,
    device: str = "auto",
    progress: Progress = lambda done, total: None,
) -> list[Moment]:
    """Repeat a training and measure its pair weights at points from its start to its end.

    The training is the run's own, seed for seed; the batches that are measured are drawn beside it,
    so it is not disturbed.

    Args:
        store: the store that the run was trained on.
        settings: of the run.
        points: how many points in time, at least 2.
        batches: how many batches at each point, at least 1.
        device: "auto", "cpu", "cuda" or "mps".
        progress: is told the finished and the total epochs.

    Raises:
        InputError: nothing is trained, it is not known which labels are wrong, or the loss has no
            cosines to weigh.
    """
    store, target = store.choose(settings.features), pick_device(device)
    pictures = pictures_of(store, settings, target)
    features = store.read()
    roles = split(features.rows, settings.protocol)
    roles = corrected(roles, settings.labels, features.rows, features.manifest)
    if settings.validation is not None:
        kind, folds, fold = settings.validation, settings.folds, settings.fold
        roles = hold_out(roles, kind, folds=folds, fold=fold).train
    labels = training_labels(roles, settings, features)
    if labels.is_wrong is None:
        raise InputError(
            "it is not known which labels are wrong: probe a run trained with --noise, or a store "
            "whose manifest has a true_label column"
        )
    values = torch.from_numpy(features.values[roles.train]).to(target)
    true = torch.from_numpy(true_classes(roles, labels)).to(target)
    used = torch.from_numpy(labels.used).to(target)
    transform = fit(settings.recipe.transform, lambda: tiles(values))
    rows = mapped(transform, values)
    shown = shown_of(pictures, roles.train, transform, rows.shape[1])
    method, schedule = method_of(settings), schedule_of(settings)
    parts = method, schedule, settings.seeds, start_of(settings)
    task = Task(used, len(labels.classes), *parts, pictures=max(1, len(pictures)))
    program = Program(rows, [begin(rows, task)], shown=shown)
    at = {round(settings.epochs * point / (points - 1)) for point in range(points)}
    found = []
    for epoch in range(settings.epochs + 1):
        progress(epoch, settings.epochs)
        program.look()
        if epoch in at:
            found.append(_moment(epoch, _measure(program, true, batches)))
        if epoch < settings.epochs:
            program.run_epoch()
    return found


def _measure(program: Program, true: torch.Tensor, batches: int) -> Amounts:
    """Sum the pair weights of some batches of the only run, as it is now."""
    (learner,) = program.learners
    method, now = learner.task.method, learner.moment()
    generator = torch.Generator().manual_seed(program.epochs_done)
    index = method.sample(now.labels.cpu(), generator, now.survey)[:batches]
    total: list[torch.Tensor] = [true.new_zeros((), dtype=torch.float64)] * len(Amounts._fields)
    for rows in index.to(true.device):
        lesson = lessons_of(method, program.shown, now, rows)[0][0]
        tap = Tap()
        loss = method.loss(lesson.learned, lesson.batch._replace(tap=tap))
        if not tap.seen:
            raise InputError(
                "this loss compares no cosines, so it has no pair weights: probe another loss"
            )
        for kind, weights in tap.weights(loss):
            part = amounts(kind, weights, lesson.batch, true, lesson.present > 0)
            total = [sum_ + each for sum_, each in zip(total, part, strict=True)]
    return Amounts(*total)


def _moment(epoch: int, sums: Amounts) -> Moment:
    def share(part: torch.Tensor, whole: torch.Tensor) -> float | None:
        return float(part / whole) if whole > 0 else None

    return Moment(
        epoch,
        share(sums.wrong_pull, sums.pull),
        share(sums.wrong_push, sums.push),
        share(sums.wrong_positives, sums.positives),
        share(sums.wrong_negatives, sums.negatives),
    )
