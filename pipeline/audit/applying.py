"""Decisions applied to the labels of a store: corrected labels, version after version."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from cache.errors import InputError
from cache.store import FeatureStore
from pipeline.audit.decisions import Conflict, Decision, Decisions, merge
from pipeline.labels.corrected_file import (
    FORMAT,
    CorrectedLabels,
    Facts,
    Step,
    digest_of,
    read_corrected,
    refuse_other_rows,
)
from pipeline.noise._overlay import is_overlay, read_overlay
from pipeline.runs.workspace import FOLDER


class Applied(NamedTuple):
    """Corrected labels, and where the people who decided did not agree; the later one counts."""

    corrected: CorrectedLabels
    conflicts: list[Conflict]


def apply(
    store: FeatureStore,
    parts: Sequence[Decisions],
    *,
    sources: Sequence[str],
    created: str,
    onto: Path | None = None,
    new_classes: bool = False,
) -> Applied:
    """Apply decisions to the labels of a store, or to labels that were corrected before.

    Args:
        store: the images' store; it stays as it is.
        parts: the decisions of one person or several; of two about one picture the later counts.
        sources: what to call the parts in the history.
        created: when, ISO 8601 in UTC.
        onto: corrected labels, or an overlay of `dml noise`, to begin with; None = the store's.
        new_classes: whether a label may be one that no picture has had.

    Raises:
        InputError: nothing is decided, a decision is about a picture or a class that does not
            exist, or `onto` is of another manifest or other labels.
    """
    before = _begin(store, onto)
    _, conflicts = merge([_decided(before), *parts])
    new, _ = merge(parts)
    if not new:
        raise InputError(f"nothing is decided in {', '.join(sources)}: decide on a picture first")
    names = _class_names(before, new, new_classes=new_classes)
    _refuse_unknown_ids(before.ids, new)
    labels, verdicts, notes = list(before.labels), list(before.decisions), list(before.notes)
    place = {key: at for at, key in enumerate(before.ids)}
    for decision in new.values():
        at = place[decision.id]
        is_relabelled = decision.decision == "relabel"
        labels[at] = names[decision.label] if is_relabelled else before.given[at]
        verdicts[at], notes[at] = decision.decision, decision.note
    kinds = Counter(decision.decision for decision in new.values())
    step = Step(
        version=before.version + 1,
        parent=None if onto is None else digest_of(onto),
        created=created,
        sources=tuple(sources),
        keep=kinds["keep"],
        relabel=kinds["relabel"],
        drop=kinds["drop"],
        overruled=len(conflicts),
    )
    facts = replace(before.facts, history=(*before.facts.history, step), dml=version("dml"))
    corrected = before._replace(
        labels=tuple(labels), decisions=tuple(verdicts), notes=tuple(notes), facts=facts
    )
    return Applied(corrected, conflicts)


def describe(corrected: CorrectedLabels) -> dict[str, Any]:
    """Tell what corrected labels are and do, as plain JSON values; every decided row is listed."""
    facts = corrected.facts
    last = facts.history[-1]
    rows = list(zip(*corrected[:-1], strict=True))
    known = {*corrected.given, *corrected.of_manifest}
    return {
        "format": facts.format,
        "version": corrected.version,
        "parent": last.parent,
        "created": last.created,
        "manifest": facts.manifest,
        "noise": facts.noise,
        "dml": facts.dml,
        "rows": len(rows),
        "decisions": corrected.counts(),
        "labels_changed": sum(label != given for _, _, label, given, *_ in rows),
        "classes_new": sorted({*corrected.labels} - known),
        "history": [{**step.__dict__, "sources": list(step.sources)} for step in facts.history],
        "decided": [
            {"id": key, "decision": verdict, "given_label": given, "label": label, "note": note}
            for key, _, label, given, _, verdict, note in rows
            if verdict
        ],
    }


def default_path(number: int) -> Path:
    """Name the file of a version: vN.parquet, or vN-2.parquet where there is one."""
    folder, copy = FOLDER / "labels", 1
    path = folder / f"v{number}.parquet"
    while path.exists():
        copy += 1
        path = folder / f"v{number}-{copy}.parquet"
    return path


def _begin(store: FeatureStore, onto: Path | None) -> CorrectedLabels:
    """Take the labels to begin with: the store's, corrected ones, or those of a noise."""
    manifest = store.fingerprint.rows_digest
    ids, paths, labels = (tuple(store.rows[name].to_pylist()) for name in ("id", "path", "label"))
    if onto is not None and not is_overlay(onto):
        corrected = read_corrected(onto)
        refuse_other_rows(corrected, onto, manifest, dict(zip(ids, labels, strict=True)))
        return corrected
    noise, given = (None, labels) if onto is None else _of_noise(onto, manifest, ids, labels)
    facts = Facts(format=FORMAT, manifest=manifest, noise=noise, history=(), dml=version("dml"))
    nothing = ("",) * len(ids)
    return CorrectedLabels(ids, paths, given, given, labels, nothing, nothing, facts)


def _of_noise(
    path: Path, manifest: str, ids: Sequence[str], labels: Sequence[str]
) -> tuple[str, tuple[str, ...]]:
    """Read an overlay of `dml noise`: what made it, and the label of every row of the manifest."""
    overlay = read_overlay(path)
    if overlay.facts.manifest != manifest:
        raise InputError(
            f"the label overlay {path} is of another manifest: it is of "
            f"{overlay.facts.manifest[:12]}, the store of {manifest[:12]}"
        )
    now = dict(zip(ids, labels, strict=True))
    for key, given in zip(overlay.ids, overlay.given, strict=True):
        if now.get(key) != given:
            raise InputError(
                f"the label overlay {path} is of other labels: {key!r} was given {given!r}, now it "
                f"is {now.get(key)!r}; make it again"
            )
    noisy = dict(zip(overlay.ids, overlay.labels, strict=True))
    spec = f"{overlay.facts.noise} seed {overlay.facts.seed}"
    return spec, tuple(noisy.get(key, label) for key, label in now.items())


def _decided(corrected: CorrectedLabels) -> dict[str, Decision]:
    """List what was decided before."""
    return {
        key: Decision(key, verdict, label if verdict == "relabel" else "", note)
        for key, _, label, _, _, verdict, note in zip(*corrected[:-1], strict=True)
        if verdict
    }


def _refuse_unknown_ids(ids: Collection[str], decisions: Decisions) -> None:
    known = set(ids)
    unknown = [key for key in decisions if key not in known]
    if unknown:
        raise InputError(
            f"{len(unknown):,} of {len(decisions):,} decisions are about pictures that the store "
            f"does not have, for example {unknown[0]!r}: name their store, or take them out"
        )


def _class_names(
    before: CorrectedLabels, decisions: Decisions, *, new_classes: bool
) -> dict[str, str]:
    """Find the class that each label of the decisions means; spaces around it do not count."""
    known = {*before.labels, *before.given, *before.of_manifest}
    names = {}
    for decision in decisions.values():
        label = decision.label
        if decision.decision != "relabel":
            continue
        name = label if label in known else label.strip()
        if name in known or new_classes:
            names[label] = name
            continue
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? If not, " if close else ""
        raise InputError(
            f"the decision on {decision.id!r} is the class {name!r}, which no picture has: {hint}"
            "--new-classes makes it one"
        )
    return names
