"""One step of one run, from row numbers to a loss: fixed shapes, no host synchronisation.

The training program takes such steps of runs that stand alone, or maps them over stacked runs.
Labels here are the given ones.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.program import disturbance, heads, memory, sampling, trees
from pipeline.program.batch import Batch
from pipeline.program.memory import Memory
from pipeline.program.method import Method
from pipeline.program.rows import ByNumber
from pipeline.selection._state import State

Tensors = dict[str, Tensor]
Bank = tuple[Memory] | tuple[()]  # an empty tuple where nobody wants a memory


class Moment(NamedTuple):
    """One run between two steps.

    Attributes:
        head: its parameters; with a leading axis of 2 where the selection trains two.
        learned: the loss's own parameters; the same.
        state: of the selection.
        bank: the memory, if there is one.
        survey: what the loss knows about all rows.
        labels: (N,) int64, as given.
        clock: () float, updates of the head so far; every update moves it in place.
        disturbance: of the features, as `disturbance.begin` collects it.
    """

    head: Tensors
    learned: Tensors
    state: State
    bank: Bank
    survey: Tensors
    labels: Tensor
    clock: Tensor
    disturbance: Tensors


class Stepped(NamedTuple):
    """What a step leaves behind.

    Attributes:
        loss: () with its graph.
        state: of the selection.
        bank: with the batch in it, where it is a queue.
        kept: () mean weight of the rows that were shown.
    """

    loss: Tensor
    state: State
    bank: Bank
    kept: Tensor


class Lesson(NamedTuple):
    """What one head is to learn from.

    Attributes:
        learned: the loss's parameters.
        batch: as selected.
        present: (B,) float, 1 for the rows that were shown, whatever the selection made of them.
    """

    learned: Tensors
    batch: Batch
    present: Tensor


def step(method: Method, features: ByNumber, now: Moment, index: Tensor) -> Stepped:
    """Compute one step's loss.

    Args:
        method: loss and selection.
        features: (N, F), or what has the batch's rows of them; (P N, F) where a step sees one of P
            pictures of a row.
        now: the run.
        index: (B,) row numbers, no two of them equal, or `ABSENT`.
    """
    lessons, state = lessons_of(method, features, now, index)
    losses = [method.loss(each.learned, each.batch) for each in lessons]
    loss = losses[0] if method.num_heads == 1 else torch.stack(losses).sum()
    (_, batch, present), bank = lessons[0], now.bank
    if bank and method.uses_queue:
        bank = (memory.enqueue(bank[0], *batch[:4]),)
    kept = batch.weights.sum() / present.sum().clamp_min(1)
    return Stepped(loss, state, bank, kept)


def lessons_of(
    method: Method, features: ByNumber, now: Moment, index: Tensor
) -> tuple[list[Lesson], State]:
    """Embed a batch and let the selection weigh it; one lesson for each head."""
    rows = index.clamp_min(0)
    places = disturbance.pictured(rows, now.disturbance, now.clock, len(now.labels))
    seen = features[places]  # (B, F)
    embedded = [
        heads.embed(head, disturbance.disturbed(seen, now.disturbance, now.clock, rows, number))
        for number, head in enumerate(_separate(now.head, method.num_heads))
    ]  # (B, D) each
    shown = Batch(
        embeddings=embedded[0].detach(),
        labels=now.labels[rows],
        rows=rows,
        weights=(index != sampling.ABSENT).to(embedded[0].dtype),
        memory=now.bank[0] if now.bank else None,
        survey=now.survey or None,
    )
    learned = _separate(now.learned, method.num_heads)
    if method.num_heads == 1:
        batches, state = _selected(method, now.state, shown)
    else:
        batches, state = _exchanged(method, now.state, shown, learned, embedded)
    parts = zip(learned, batches, embedded, strict=True)
    present = shown.weights
    return [Lesson(own, it._replace(embeddings=rows), present) for own, it, rows in parts], state


def _selected(method: Method, state: State, shown: Batch) -> tuple[list[Batch], State]:
    chosen, state = method.select(state, shown)
    if method.reads_confidences and chosen.confidences is not None:
        # The confidences say already how much the row counts, and for which class.
        chosen = chosen._replace(weights=shown.weights)
    return [chosen], state


def _exchanged(
    method: Method, state: State, shown: Batch, learned: list[Tensors], embedded: list[Tensor]
) -> tuple[list[Batch], State]:
    scores = [
        method.logits(own, rows).detach() for own, rows in zip(learned, embedded, strict=True)
    ]
    weights, state = method.exchange(state, shown, torch.stack(scores))  # (2, B)
    return [shown._replace(weights=of_head) for of_head in weights], state


def _separate(tensors: Tensors, count: int) -> list[Tensors]:
    """Take the parameters of the heads apart; of one head they have no axis for it."""
    return [tensors] if count == 1 else [trees.take(tensors, head) for head in range(count)]
