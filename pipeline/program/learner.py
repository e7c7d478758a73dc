"""One run in training: what it is to do, what it has learned so far, and what it draws from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.program import disturbance, heads, memory, optimiser, trees
from pipeline.program.method import Method
from pipeline.program.optimiser import Moments
from pipeline.program.rows import Rows, changed, mapped, refuse_streamed
from pipeline.program.schedule import Schedule
from pipeline.program.seeds import Seeds
from pipeline.program.step import Bank, Moment
from pipeline.selection._state import State

Tensors = dict[str, Tensor]
# From all rows and a run as it was drawn, with its selection's first look, to the head and what the
# loss learns that it begins with in their place, of the same shapes.
Start = Callable[[Rows, "Learner"], tuple[Tensors, Tensors]]


@dataclass(frozen=True)
class Task:
    """What one run is to do.

    Attributes:
        labels: (N,) int64 in 0..C-1, as given to this run, on the device that trains.
        num_classes: C.
        method: loss and selection with their options.
        schedule: how long and how fast.
        seeds: what decides its randomness.
        start: where it begins; None = where it is drawn.
        pictures: of each row, one of which a step sees.
    """

    labels: Tensor
    num_classes: int
    method: Method
    schedule: Schedule
    seeds: Seeds
    start: Start | None = None
    pictures: int = 1


@dataclass
class Learner:
    """One run between two epochs.

    Attributes:
        task: what it is to do.
        head: its parameters; with a leading axis of 2 where the selection trains two.
        learned: the loss's own parameters; the same.
        moments: of the optimiser, for the head and for what the loss learns.
        state: of the selection.
        bank: the memory, if there is one.
        survey: what the loss knows about all rows.
        disturbance: of the features in a step.
        sampler: draws the batches.
        surveyor: draws what the loss draws when it looks at all rows.
        losses: () mean loss of each finished epoch.
        kept: () mean weight, in each finished epoch, of the rows that were shown.
    """

    task: Task
    head: Tensors
    learned: Tensors
    moments: dict[str, Moments]
    state: State
    bank: Bank
    survey: Tensors
    disturbance: Tensors
    sampler: torch.Generator
    surveyor: torch.Generator
    losses: list[Tensor] = field(default_factory=list)
    kept: list[Tensor] = field(default_factory=list)

    @property
    def epochs_done(self) -> int:
        """The number of finished epochs."""
        return len(self.losses)

    def moment(self) -> Moment:
        """Collect what the run goes into a step with."""
        parts = self.head, self.learned, self.state, self.bank, self.survey
        return Moment(*parts, self.task.labels, self.clock, self.disturbance)

    @property
    def clock(self) -> Tensor:
        """The number of the head's updates so far, () float, which every update moves."""
        return self.moments["head"]["weight"]["count"]

    def first_head(self) -> tuple[Tensors, Tensors]:
        """Take the head and the loss's parameters; of two heads the first."""
        if self.task.method.num_heads == 1:
            return self.head, self.learned
        return trees.take(self.head, 0), trees.take(self.learned, 0)

    @torch.no_grad()
    def look(self, features: Rows) -> None:
        """Begin an epoch: all rows embedded anew, for whoever looks at all of them."""
        task, epoch = self.task, self.epochs_done
        method, labels = task.method, task.labels
        self.state = method.turn(self.state, epoch)
        is_full = bool(self.bank) and not method.uses_queue
        surveys_anew = method.surveys == "epochs" and epoch > 0
        if not (is_full or method.refreshes or surveys_anew):
            return
        embeddings = mapped(partial(heads.embed, self.first_head()[0]), features)  # (N, D)
        progress = epoch / task.schedule.epochs
        self.state = method.refresh(self.state, embeddings, labels, task.num_classes, progress)
        if is_full:
            self.bank = (memory.full(embeddings, labels, self.state.weights),)
        if surveys_anew:
            self.take_survey(embeddings)

    @torch.no_grad()
    def take_survey(self, rows: Rows) -> None:
        """Let the loss look at all rows (N, *) of unit norm, if it wants to."""
        task, weights = self.task, self.state.weights
        arguments = rows, task.labels, weights, task.num_classes, self.surveyor
        self.survey = task.method.survey(*arguments)

    def draw_batches(self) -> Tensor:
        """Draw an epoch of batches, (steps, B) row numbers or `ABSENT`, on the CPU."""
        return self.task.method.sample(self.task.labels.cpu(), self.sampler, self.survey)


def begin(features: Rows, task: Task, *, looks: bool = True) -> Learner:
    """Draw a run's parameters, and let selection and loss look at the frozen features.

    Every head is drawn first and then what the loss learns, from one generator.

    Args:
        features: (N, F) float32, transformed, on the device that trains or on the way there.
        task: what the run is to do.
        looks: False leaves selection and loss without their look, and the run where it was drawn:
            a snapshot fills them in.

    Raises:
        InputError: the selection or the loss finds that it cannot work with these rows, or has to
            look at all of them and they stay on the disk.
    """
    method, schedule = task.method, task.schedule
    refuse_looks(features, method)
    start, branch = (generator(task.seeds.start, purpose) for purpose in ("start", "hidden"))
    device = features.device
    num_features, dim = features.shape[1], schedule.dim

    def drawn(draw: Callable[[], Tensors]) -> Tensors:
        each = [draw() for _ in range(method.num_heads)]
        one = each[0] if method.num_heads == 1 else trees.stack(each)
        return {name: value.to(device) for name, value in one.items()}

    shape = schedule.head, num_features, dim, schedule.hidden
    head = drawn(lambda: heads.draw(*shape, start, branch))
    learned = drawn(lambda: method.loss_parameters(task.num_classes, dim, start))
    bank: Bank = ()
    if method.uses_memory:
        bank = (memory.empty(method.bank_size or len(task.labels), dim, device),)
    learner = Learner(
        task=task,
        head=head,
        learned=learned,
        moments={"head": optimiser.zeros(head), "learned": optimiser.zeros(learned)},
        state=State(*(torch.zeros(0, device=device),) * 3, {}),
        bank=bank,
        survey={},
        disturbance=disturbance.begin(
            features,
            _number(task.seeds.sampling, "disturbance"),
            dropout=schedule.dropout,
            noise=schedule.feature_noise,
            pictures=task.pictures,
        ),
        sampler=generator(task.seeds.sampling, "sampling"),
        surveyor=generator(task.seeds.sampling, "survey"),
    )
    if looks:
        own = generator(task.seeds.start, "selection")
        learner.state = method.start(features, task.labels, task.num_classes, own)
        if method.surveys != "never":
            learner.take_survey(changed(features, functional.normalize))
        if task.start is not None:
            learner.head, learner.learned = task.start(features, learner)
    return learner


def refuse_looks(features: Rows, method: Method) -> None:
    """Refuse rows on the disk where selection or loss have to look at all of them before training.

    Raises:
        InputError: it is so.
    """
    loss, selection = method.loss_module, method.selection_module
    refuse_streamed(features, selection.start, f"--select {_name(selection)}")
    if method.surveys != "never":
        refuse_streamed(features, loss.survey, f"--loss {_name(loss)}")


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2].replace("_", "-")


def generator(seed: int, purpose: str) -> torch.Generator:
    """Make the generator of one purpose: streams of one seed are independent of each other."""
    return torch.Generator().manual_seed(_number(seed, purpose))


def _number(seed: int, purpose: str) -> int:
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
