"""Validation inside the training rows: which rows are held out, and the epoch that they prefer.

- `classes`: every F-th class is held out (F folds); its rows search among each other. As in the
  zero-shot test, the classes are new to the head.
- `rows`: every F-th row of each class is held out and searches among the rows that train. As in the
  query and gallery test, the classes are known.
- `split`: rows of the manifest's split "val" search among the rows that train.

Labels of validation rows are those that a user would have: given ones, with injected noise drawn
for them as for the training rows, but apart. No true label and no test row is looked at. A fold has
fewer classes than the test set, so its figures are higher: they compare epochs and settings, not
protocols (our choice after Musgrave, Belongie, Lim, ECCV 2020, arXiv 2003.08505, which takes
class-disjoint folds and MAP@R).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache.errors import InputError
from pipeline.choices.settings import Settings
from pipeline.labels.training import Source, training_labels
from pipeline.measures.metrics import evaluate
from pipeline.program import heads
from pipeline.program.learner import Learner
from pipeline.program.rows import Change, Rows, as_stored, chosen, mapped
from pipeline.training.protocol import Split

Kind = Literal["classes", "rows", "split"]
Numbers = NDArray[np.int64]
_OTHER_SEEDS = 1_000_003  # validation labels have a noise draw of their own


@dataclass(frozen=True)
class HeldOut:
    """Rows of a store that train, and rows that validate.

    Attributes:
        train: the roles, with the training rows that are left.
        query: rows that search.
        gallery: rows that are searched; None where the queries search among each other.
    """

    train: Split
    query: Numbers
    gallery: Numbers | None


def hold_out(roles: Split, kind: Kind, *, folds: int, fold: int) -> HeldOut:
    """Divide the training rows; the same for all runs, whatever their seeds.

    Args:
        roles: of the store's rows.
        kind: as above.
        folds: F, for "classes" and "rows".
        fold: which of the folds is held out, from 0.

    Raises:
        InputError: there is no val split, or too little is left to train or to validate.
    """
    given = roles.given[roles.train]
    if kind == "split":
        if roles.val is None or not len(roles.val):
            raise InputError(
                'validation "split" needs rows with the split "val" and the store has none: use '
                "--validation rows or --validation classes"
            )
        return HeldOut(roles, roles.val, roles.train)
    if kind == "classes":
        _, number = np.unique(given, return_inverse=True)
        is_held = number % folds == fold
    else:
        shuffled = np.random.default_rng(0).permutation(len(given))
        order = shuffled[np.argsort(given[shuffled], kind="stable")]
        is_held = np.empty(len(given), dtype=bool)
        is_held[order] = np.arange(len(given)) % folds == fold
    left, held = roles.train[~is_held], roles.train[is_held]
    if min(len(np.unique(roles.given[left])), len(held)) < 2:
        raise InputError(
            f"fold {fold} of {folds} leaves {len(left)} rows to train and {len(held)} to validate: "
            "use fewer folds, or no validation"
        )
    train = replace(roles, train=left)
    return HeldOut(train, held, left if kind == "rows" else None)


class Validator:
    """Watches R runs: MAP@R on held-out rows, and the head of the best epoch so far."""

    def __init__(
        self,
        held: HeldOut,
        settings: Sequence[Settings],
        source: Source,
        features: Rows,
        *,
        every: int,
        change: Change = as_stored,
    ) -> None:
        """Prepare the rows.

        Args:
            held: what is held out.
            settings: of each run, with equal `Settings.shared`.
            source: the store's rows as they were read; the noise may look at them.
            features: (M, F) features of the same rows.
            every: epochs between two looks, at least 1; the last epoch is always looked at.
            change: what is still to be done to the features, such as a transform.
        """
        self.every = every
        device = features.device
        self._query = chosen(features, held.query, change)
        own = torch.arange(len(held.query), device=device)
        self._own = own if held.gallery is None else None
        self._gallery = (
            self._query if held.gallery is None else chosen(features, held.gallery, change)
        )
        self._labels = [_labels(held, each, source, device) for each in settings]
        runs = len(settings)
        self.epochs: list[int] = []
        self.scores: list[Tensor] = []  # (R,) float64 each; NaN for a run that does not train
        self.best_epoch = torch.zeros(runs, dtype=torch.int64)
        self.best_score = torch.full((runs,), -1.0, dtype=torch.float64)
        self.best_heads: dict[int, dict[str, Tensor]] = {}

    @torch.no_grad()
    def look(self, learners: Mapping[int, Learner]) -> None:
        """Measure the runs, by their numbers, if it is time to."""
        one = next(iter(learners.values()))
        epoch, last = one.epochs_done, one.task.schedule.epochs
        if epoch == 0 or (epoch % self.every and epoch < last):
            return
        score = torch.full_like(self.best_score, torch.nan)
        for run, learner in learners.items():
            head = learner.first_head()[0]
            score[run] = self._map_at_r(head, run)
            if score[run].isnan():
                raise InputError(
                    "no validation row has another row of its label to find: use fewer folds, "
                    "--validation of another kind, or none"
                )
            if score[run] > self.best_score[run]:
                self.best_score[run], self.best_epoch[run] = score[run], epoch
                self.best_heads[run] = {name: value.clone() for name, value in head.items()}
        self.epochs.append(epoch)
        self.scores.append(score)

    def is_exhausted(self, patience: int | None) -> bool:
        """Tell whether no run has become better in so many looks; never without a patience."""
        if patience is None or len(self.epochs) <= patience:
            return False
        return bool((self.best_epoch < self.epochs[-patience]).all())

    def tensors(self) -> dict[str, Tensor]:
        """Copy what has been seen, for a snapshot."""
        seen = {
            "epochs": torch.tensor(self.epochs, dtype=torch.int64),
            "scores": torch.stack(self.scores) if self.scores else self.best_score[None][:0],
            "best_epoch": self.best_epoch,
            "best_score": self.best_score,
            **{
                f"head/{run}/{name}": value
                for run, head in self.best_heads.items()
                for name, value in head.items()
            },
        }
        return {name: value.cpu().clone() for name, value in seen.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what a snapshot has seen."""
        self.epochs = tensors["epochs"].tolist()
        self.scores = list(tensors["scores"])
        self.best_epoch, self.best_score = tensors["best_epoch"], tensors["best_score"]
        for name, value in tensors.items():
            part, *path = name.split("/")
            if part == "head":
                head = self.best_heads.setdefault(int(path[0]), {})
                head[path[1]] = value.to(self._query.device)

    def _map_at_r(self, head: dict[str, Tensor], run: int) -> float:
        query_labels, gallery_labels = self._labels[run]
        embedded = partial(mapped, partial(heads.embed, head))
        query = embedded(self._query)
        gallery = query if self._own is not None else embedded(self._gallery)
        found = evaluate(
            query, query_labels, gallery, gallery_labels, recall_at=(1,), own_rows=self._own
        )
        return found.map_at_r


def _labels(
    held: HeldOut, settings: Settings, source: Source, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Number the labels of queries and gallery as a user would have them, noise included."""
    apart = settings.replaced(noise_seed=(settings.seed_of_noise + _OTHER_SEEDS) % 2**32)
    queries = training_labels(replace(held.train, train=held.query), apart, source)
    sides = [queries, queries]
    if held.gallery is not None:
        sides[1] = training_labels(held.train, settings, source)
    names = {name: at for at, name in enumerate(sorted({*sides[0].classes, *sides[1].classes}))}
    query, gallery = (
        torch.tensor([names[name] for name in side.classes], device=device)[
            torch.from_numpy(side.used).to(device)
        ]
        for side in sides
    )
    return query, gallery
