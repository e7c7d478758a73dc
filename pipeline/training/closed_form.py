"""Heads that are computed: from rows, labels and a selection's weights to a linear head."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pipeline.choices import catalogue
from pipeline.choices.settings import Settings
from pipeline.closed_forms._statistics import Member, Statistics, gather
from pipeline.program.rows import Rows, as_stored, mapped
from pipeline.selection._state import State

Tensors = dict[str, Tensor]


def weigh(features: Rows, labels: Tensor, num_classes: int, settings: Settings) -> State:
    """Let the selection look at the frozen features, once.

    Args:
        features: (N, F) transformed.
        labels: (N,) int64, as given.
        num_classes: C.
        settings: whose selection and seed count.
    """
    selection = catalogue.find("selection", settings.recipe.selection).load()
    own = torch.Generator().manual_seed(settings.seed)
    state: State = selection.start(
        features, labels, num_classes, own, **settings.options_of("select")
    )
    return state


def statistics_of(features: Rows, labels: Tensor, state: State, num_classes: int) -> Statistics:
    """Gather what closed forms need, every row counting as the selection weighs it.

    Fewer rows than features span N directions at most, and beyond them they say nothing: there the
    statistics are those of their coordinates in the span, which takes a fraction of the time.

    Args:
        features: (N, F) transformed.
        labels: (N,) int64, as given.
        state: of the selection; a second class that it knows for a row counts too.
        num_classes: C.
    """
    members, (count, width) = members_of(labels, state), features.shape
    if count >= width:
        return gather(features, members, num_classes)
    rows = mapped(as_stored, features)
    span = torch.linalg.qr(rows.T.cpu() if rows.device.type == "mps" else rows.T).Q  # (F, N)
    return replace(gather(rows @ span.to(rows), members, num_classes), span=span)


def members_of(labels: Tensor, state: State) -> list[Member]:
    """List which rows belong to which classes, and how much; the given labels (N,) come first."""
    members = [Member(labels, state.weights)]
    if "other_weights" in state.extras:
        members.append(Member(state.extras["other"], state.extras["other_weights"]))
    return members


def head_of(statistics: Statistics, settings: Settings, device: torch.device) -> Tensors:
    """Compute the head on a device: weight (F, D), D at most `settings.dim`, and bias (D,)."""
    form = catalogue.find("closed_forms", str(settings.recipe.form)).load()
    options = settings.options_of("loss")
    weight: Tensor = form.fit(statistics, settings.dim, **options)
    # Cosines do not see the scale; rows of about unit norm are what other programs expect.
    spread = (weight * (statistics.total @ weight)).sum()
    weight = torch.where(spread > 0, weight * spread.rsqrt(), weight)  # 0 where all rows are equal
    weight = statistics.in_features(weight).to(device).contiguous()
    return {"weight": weight, "bias": weight.new_zeros(weight.shape[1])}
