"""The judgement of all rows as the tables of `findings`."""

from __future__ import annotations

import pyarrow as pa
import torch
from torch import Tensor

from pipeline.audit import examples, kinds, reasons
from pipeline.audit.findings import PAIRS_SCHEMA, SCHEMA, SHOWN, Kind
from pipeline.audit.judging import SOURCES, Judgement
from pipeline.audit.kinds import Pair
from pipeline.audit.subject import Subject

ISSUE = 0.5  # p_wrong from which a label is reported


def tables(subject: Subject, judged: Judgement) -> tuple[pa.Table, pa.Table]:
    """Lay out the findings, most suspicious first, and the confused pairs of classes."""
    labels, num_classes = subject.labels.to(judged.rows.device), len(subject.classes)
    torn = kinds.is_torn(judged.own_share, judged.other_share) & judged.is_known
    pairs = kinds.confused_pairs(torn, labels, judged.suggested, num_classes)
    names = _kinds(labels, judged, torn, pairs)
    order = judged.p_wrong.cpu().numpy().argsort(kind="stable")[::-1]
    columns = _columns(subject, labels, judged, names)
    table = pa.Table.from_arrays(columns, schema=SCHEMA).take(pa.array(order))
    return table, _pairs(pairs, subject.classes)


def is_issue(judged: Judgement) -> Tensor:
    """Mark the rows whose label is more probably wrong than right, (N,) bool."""
    return judged.is_known & (judged.p_wrong >= ISSUE)


def _kinds(labels: Tensor, judged: Judgement, torn: Tensor, pairs: list[Pair]) -> list[Kind]:
    """Name what is the matter with each row."""
    num_classes = int(max(labels.max(), judged.suggested.max())) + 1
    keys = labels * num_classes + judged.suggested
    listed = [key for a, b, *_ in pairs for key in (a * num_classes + b, b * num_classes + a)]
    is_listed = torch.isin(keys, torch.tensor(listed, dtype=torch.long, device=keys.device))
    issue = is_issue(judged)
    # An image that its own class claims belongs there, however alone it is.
    leans = judged.other_share > judged.own_share
    far = leans & kinds.is_out_of_set(judged.rows, labels, judged.near, num_classes)
    number = torch.where(issue & torn & is_listed, 2, torch.where(issue, 1, 0))
    of: tuple[Kind, ...] = ("", "wrong label", "ambiguous", "out of set")
    return [of[at] for at in torch.where(far, 3, number).tolist()]


def _columns(
    subject: Subject, labels: Tensor, judged: Judgement, names: list[Kind]
) -> list[pa.Array]:
    """Make the columns in the order of `SCHEMA`, rows as in the subject."""
    p_wrong = judged.p_wrong.float().cpu().numpy()
    dynamics = subject.dynamics
    unknown = torch.full((len(labels),), torch.nan)
    sources = dict(zip(SOURCES, judged.sources, strict=True))
    columns: dict[str, object] = {
        "id": subject.ids,
        "path": subject.paths,
        "given_label": [subject.classes[at] for at in labels.tolist()],
        "suggested_label": [subject.classes[at] for at in judged.suggested.tolist()],
        "label_score": 1 - p_wrong,
        "is_label_issue": is_issue(judged).cpu().numpy(),
        "p_wrong": p_wrong,
        "kind": names,
        "reason": _reasons(subject, labels, judged, names),
        **{name: each.suspicion().float().cpu().numpy() for name, each in sources.items()},
        "dynamics": (unknown if dynamics is None else dynamics).cpu().numpy(),
        "same_class": _shown(subject, judged, labels, labels),
        "suggested_class": _shown(subject, judged, labels, judged.suggested),
    }
    return [pa.array(columns[field.name], type=field.type) for field in SCHEMA]


def _reasons(subject: Subject, labels: Tensor, judged: Judgement, names: list[Kind]) -> list[str]:
    sources = dict(zip(SOURCES, judged.sources, strict=True))
    voters, votes = reasons.votes_for(judged.near, labels, judged.suggested)
    nearer = reasons.says(sources["centre"], judged.suggested) > 0
    confidence = reasons.says(sources["out_of_fold"], judged.suggested)
    told = subject.dynamics if subject.dynamics is not None else torch.zeros(len(labels))
    known = judged.is_known.tolist()
    rows = zip(
        *(each.tolist() for each in (labels, judged.suggested, votes, nearer, confidence, told)),
        strict=True,
    )
    texts = []
    for at, (given, other, count, is_nearer, share, distrust) in enumerate(rows):
        facts = reasons.Facts(
            subject.classes[given],
            subject.classes[other],
            voters,
            count,
            is_nearer,
            share,
            distrust > ISSUE,
        )
        says_nothing = not known[at] and names[at] == ""
        texts.append(reasons.UNKNOWN if says_nothing else reasons.reason(names[at], facts))
    return texts


def _shown(subject: Subject, judged: Judgement, labels: Tensor, classes: Tensor) -> list[list[str]]:
    found = examples.nearest_in(judged.rows, labels, classes, SHOWN).tolist()
    return [[subject.ids[row] for row in rows if row >= 0] for rows in found]


def _pairs(pairs: list[Pair], classes: tuple[str, ...]) -> pa.Table:
    rows = [{**pair._asdict(), "a": classes[pair.a], "b": classes[pair.b]} for pair in pairs]
    return pa.Table.from_pylist(rows, schema=PAIRS_SCHEMA)
