"""The training program: R runs on the same features, epoch by epoch.

All runs see the same (N, F) features and have their own task: labels, loss, selection, options,
rates and seeds. They do not see each other, so runs together give what each gives alone, up to the
order of additions. On a CPU each run takes its steps alone (`alone`); elsewhere runs of one shape
take them together (`together`). Nothing here knows files, names or true labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from pipeline.program import alone, together
from pipeline.program.learner import Learner
from pipeline.program.rows import Rows, Streamed

Way = Literal["alone", "together", "compiled"]


def usual_way(device: torch.device) -> Way:
    """Tell how steps are taken where nobody says it."""
    return "alone" if device.type == "cpu" else "together"


class Program:
    """R runs in training.

    Attributes:
        features: (N, F) float32, centred.
        shown: what steps take their rows from: the same, or (P N, F) with P pictures of each.
        learners: the runs.
    """

    def __init__(
        self,
        features: Rows,
        learners: Sequence[Learner],
        *,
        shown: Tensor | None = None,
        way: Way | None = None,
    ) -> None:
        """Take runs that `learner.begin` has begun, or `snapshots.resume` has filled.

        Args:
            features: (N, F) float32, centred, on the device that trains or on the way there.
            learners: runs that have finished equally many epochs.
            shown: (P N, F), if the runs' tasks have P pictures of each row, picture by picture.
            way: how steps are taken; None = alone on a CPU, together elsewhere; "compiled" is
                together, by kernels that torch.compile makes in half a minute or more. A loss
                that does not run under `torch.func.vmap` takes them alone everywhere, and so do
                all runs on rows that stay on the disk.
        """
        self.features, self.learners = features, learners
        self.shown = features if shown is None else shown
        self._way = way or usual_way(features.device)
        self._stacks: list[together.Stack] | None = None

    @property
    def epochs_done(self) -> int:
        """The number of finished epochs."""
        return self.learners[0].epochs_done

    @property
    def epochs(self) -> int:
        """The number of epochs in all."""
        return self.learners[0].task.schedule.epochs

    def epoch(self) -> None:
        """Train one epoch, and note each run's mean loss and mean weight."""
        self.look()
        self.run_epoch()

    def look(self) -> None:
        """Begin an epoch: whoever looks at all rows does so."""
        for learner in self.learners:
            learner.look(self.features)

    def run_epoch(self) -> None:
        """Take the steps of an epoch that has begun."""
        if self._way == "alone" or isinstance(self.shown, Streamed):
            alone.run_epoch(self.shown, self.learners)
            return
        stacked = [each for each in self.learners if each.task.method.is_batched]
        if self._stacks is None:
            by_key: dict[object, list[Learner]] = {}
            for learner in stacked:
                by_key.setdefault(together.key(learner), []).append(learner)
            compiles = self._way == "compiled"
            self._stacks = [
                together.Stack(self.shown, runs, compiles=compiles) for runs in by_key.values()
            ]
        for stack in self._stacks:
            stack.run_epoch()
        others = [each for each in self.learners if not each.task.method.is_batched]
        alone.run_epoch(self.shown, others)
