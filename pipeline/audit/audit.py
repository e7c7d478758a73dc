"""Audits the labels of a store or a run: which are probably wrong, what they should be, and why."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cache.store import FeatureStore
from pipeline.audit import quality, subject, table
from pipeline.audit.findings import KINDS, Findings
from pipeline.audit.judging import SOURCES, Judgement, judge
from pipeline.audit.noisy import overlay_of
from pipeline.audit.subject import Subject
from pipeline.duplicates import KINDS as DUPLICATES
from pipeline.duplicates import list_duplicates
from pipeline.extraction.embed import pick_device
from pipeline.noise._overlay import Overlay
from pipeline.runs import provenance
from pipeline.runs.opening import refuse_other_store
from pipeline.runs.record import Run

Progress = Callable[[int, int], None]
_STEPS = 5  # three of judging, the tables, the duplicates
_LISTED = 10  # groups of duplicates that the summary names


def audit_store(
    store: FeatureStore,
    *,
    noise: str | None = None,
    features: str | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = lambda done, total: None,
) -> Findings:
    """Audit the training split of a store, or all its images where it has none.

    Args:
        store: a complete store.
        noise: a spec of labels to make wrong first, to measure how many are found.
        features: which of the store's features; None takes the first.
        seed: of that noise and of the audit.
        device: "auto", "cpu", "cuda" or "mps".
        progress: is told the finished and the total steps.

    Raises:
        InputError: there are too few images or classes, or the noise does not fit them.
        StoreIncompleteError: the extraction has not finished.
    """
    asked = {"run": None, "labels": None, "noise": noise, "features": features, "seed": seed}
    looked_at = subject.of_store(store, noise=noise, seed=seed, features=features)
    noisy = None
    if noise is not None:
        noisy = overlay_of(looked_at, store, noise=noise, seed=seed, protocol="query-gallery")
    return _audit(store, looked_at, asked, noisy, seed, device, progress)


def audit_run(
    run: Run,
    store: FeatureStore,
    *,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = lambda done, total: None,
) -> Findings:
    """Audit the labels that a run was trained with; what its training found counts, too.

    Args:
        run: a finished run.
        store: the one that it was trained on.
        seed: of the audit.
        device: "auto", "cpu", "cuda" or "mps".
        progress: is told the finished and the total steps.

    Raises:
        InputError: the store or the run's list of labels is another one.
    """
    refuse_other_store(run, store)
    settings = run.settings
    names = ("labels", "noise", "features")
    asked = {"run": str(run.path), **{name: getattr(settings, name) for name in names}}
    looked_at = subject.of_run(run, store)
    noisy = None
    if settings.noise is not None:
        drawn, protocol = settings.seed_of_noise, run.record["protocol"]
        noisy = overlay_of(looked_at, store, noise=settings.noise, seed=drawn, protocol=protocol)
    return _audit(store, looked_at, {**asked, "seed": seed}, noisy, seed, device, progress)


def _audit(
    store: FeatureStore,
    looked_at: Subject,
    asked: dict[str, Any],
    noisy: Overlay | None,
    seed: int,
    device: str,
    progress: Progress,
) -> Findings:
    started = time.perf_counter()
    target = pick_device(device)
    judged = judge(
        looked_at.features.to(target),
        looked_at.labels.to(target),
        len(looked_at.classes),
        dynamics=None if looked_at.dynamics is None else looked_at.dynamics.to(target),
        seed=seed,
        progress=lambda done, _: progress(done, _STEPS),
    )
    rows, classes = table.tables(looked_at, judged)
    progress(_STEPS - 1, _STEPS)
    seconds = time.perf_counter() - started
    kinds = rows["kind"].to_pylist()
    summary = {
        "store": str(store.path),
        "fingerprint": store.fingerprint.digest(),
        "settings": asked,
        "rows": len(kinds),
        "classes": len(looked_at.classes),
        "estimated_noise_rate": float(judged.p_wrong.mean()),
        "counts": {kind: kinds.count(kind) for kind in KINDS if kind},
        "label_issues": int(table.is_issue(judged).sum()),
        "unknown": int((~judged.is_known).sum()),
        "confused_pairs": len(classes),
        "duplicates": _duplicates(store),
        "combination": _combination(judged, looked_at.dynamics is not None),
        "measures": _measures(looked_at, judged),
        "seconds": seconds,
        "environment": provenance.environment(target),
    }
    progress(_STEPS, _STEPS)
    return Findings(rows, classes, summary, noisy)


def _combination(judged: Judgement, has_dynamics: bool) -> dict[str, Any]:
    """Tell how the sources were combined."""
    slopes = dict(zip(SOURCES, judged.model.slopes.tolist(), strict=True))
    return {"offset": judged.model.offset, "slopes": slopes, "dynamics": has_dynamics}


def _duplicates(store: FeatureStore) -> dict[str, Any]:
    """Count the groups of duplicates, and name the first of those that matter."""
    report = list_duplicates(store)
    named = [
        {"kind": group.kind, "ids": [member.id for member in group.members], "labels": group.labels}
        for group in report.groups
        if group.kind != "rest"
    ]
    return {**{kind: len(report.of(kind)) for kind in DUPLICATES}, "first": named[:_LISTED]}


def _measures(looked_at: Subject, judged: Judgement) -> dict[str, Any] | None:
    """Compare with the truth, where it is known."""
    truth = looked_at.truth
    if truth is None:
        return None
    p_wrong = judged.p_wrong.cpu().numpy()
    issues = table.is_issue(judged).cpu().numpy()
    figures = quality.quality(p_wrong, issues, truth.is_wrong, float(p_wrong.mean()))
    is_right = (judged.suggested.cpu().numpy() == truth.classes)[truth.is_wrong]
    return {**figures, "right_suggestions": float(is_right.mean()) if len(is_right) else None}
