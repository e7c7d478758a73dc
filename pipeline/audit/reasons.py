"""One short sentence for each image: why its label is doubted."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.audit.evidence import Evidence
from pipeline.audit.findings import Kind
from pipeline.measures.neighbourhood import Neighbourhood

_ASKED = 10  # nearest images that are counted
UNKNOWN = "too few images of its class to judge it"
_FAR = "far from every class and from every other image"


class Facts(NamedTuple):
    """What is said of one row.

    Attributes:
        given: its label.
        other: the suggested label.
        voters: how many of the nearest images were asked.
        votes: how many of them have the suggested label.
        is_nearer: whether the suggested class's centre is nearer than the given one's.
        confidence: of the held-out classifier in the suggested class, in [0, 1]; 0 = says no such
            thing.
        is_distrusted: whether a training distrusted the label.
    """

    given: str
    other: str
    voters: int
    votes: int
    is_nearer: bool
    confidence: float
    is_distrusted: bool


def reason(kind: Kind, facts: Facts) -> str:
    """Write the sentence; empty where nothing is to be said."""
    if kind == "":
        return ""
    if kind == "out of set":
        return _FAR
    if kind == "ambiguous":
        return f"looks as much like {facts.other} as like {facts.given}, and others of both do too"
    parts = []
    if facts.votes:
        parts.append(f"{facts.votes} of its {facts.voters} nearest images")
    if facts.is_nearer:
        parts.append("the nearer class centre")
    if facts.confidence:
        parts.append(f"a classifier that has not seen it ({100 * facts.confidence:.0f} %)")
    if facts.is_distrusted:
        parts.append("its training")
    who = ", ".join(parts)
    return f"{who}: {facts.other}" if who else f"little speaks for {facts.given}"


def votes_for(near: Neighbourhood, labels: Tensor, classes: Tensor) -> tuple[int, Tensor]:
    """Count the nearest rows that are labelled with a class: how many were asked, and (N,)."""
    asked = near.rows[:, :_ASKED]
    return asked.shape[1], (labels[asked] == classes[:, None]).sum(dim=1)


def says(source: Evidence, classes: Tensor) -> Tensor:
    """Give the share (N,) of a class where a source finds no other as probable, else 0."""
    is_first = (source.classes[:, 0] == classes) & (source.shares[:, 0] > source.own)
    return torch.where(is_first, source.shares[:, 0], 0.0)
