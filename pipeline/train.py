"""Stage two: trains a head on a store's features and writes a run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from cache.errors import InputError
from cache.store import FeatureStore
from pipeline.auto.choose import Choice, choice_facts
from pipeline.choices.settings import Settings
from pipeline.extraction.embed import pick_device
from pipeline.labels.corrected import correction_facts
from pipeline.labels.training import TrainingLabels
from pipeline.measures.detection import detection
from pipeline.runs import provenance
from pipeline.runs.record import Run, refuse_unusable, save_run
from pipeline.runs.unfinished import Unfinished
from pipeline.selection._state import DOUBTFUL, State
from pipeline.training.learn import Learned, learn
from pipeline.training.loading import bytes_of_training, hold, pictures_of
from pipeline.training.protocol import Split, split
from pipeline.transforms.chain import Chain

Progress = Callable[[int, int], None]
Rows = NDArray[np.int64]


def train(
    store: FeatureStore,
    settings: Settings,
    path: Path,
    *,
    device: str = "auto",
    memory: int | None = None,
    progress: Progress = lambda done, total: None,
    snapshot_seconds: float = 30.0,
) -> Run:
    """Train one run, or go on with one that was interrupted at the same path.

    Args:
        store: a complete store.
        settings: what to train.
        path: folder of the new run.
        device: "auto", "cpu", "cuda" or "mps".
        memory: bytes that the features may take; where they do not fit, they stay on the disk and
            are read while the run trains. None = most of what the device has free.
        progress: is told the finished and the total epochs.
        snapshot_seconds: the least time between two snapshots to go on from.

    Raises:
        InputError: settings, labels or path cannot be used, the training diverged, or the features
            do not fit and the loss or the selection has to look at all of them at once.
        StoreIncompleteError: the extraction has not finished.
    """
    settings.check()
    store = store.choose(settings.features)
    refuse_unusable(path)
    rows, manifest = store.readable_rows(), store.fingerprint.rows_digest
    roles = split(rows, settings.protocol)
    correction = None
    if settings.labels is not None:  # before the wait for the features
        correction = correction_facts(roles, settings.labels, rows, manifest)
    target = pick_device(device)
    begun = time.perf_counter()
    pictures = pictures_of(store, settings, target)
    beside = bytes_of_training(store.num_features, roles, settings, pictures=len(pictures))
    values, source, held = hold(store, target, beside=beside, memory=memory)
    identity = {"settings": asdict(settings), "store": store.fingerprint.digest()}
    if correction is not None:
        identity["labels"] = correction["sha256"]
    unfinished = Unfinished(path, identity, seconds=snapshot_seconds)
    earlier = unfinished.load()
    runs, keep = [settings], unfinished.save
    (learned,) = learn(
        *(values, source, roles, runs),
        pictures=pictures,
        progress=progress,
        earlier=earlier,
        keep=keep,
    )
    if isinstance(learned, InputError):
        raise learned
    roles, labels, state = learned.roles, learned.labels, learned.state
    record = {
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "seconds": round(time.perf_counter() - begun, 3),
        "store": {"path": str(store.path), "fingerprint": store.fingerprint.digest()},
        "features": held,
        "protocol": roles.protocol,
        "counts": _counts(roles, labels),
        "transform": _transform_of(settings, learned.choice),
        "labels": correction,
        "noise": _noise_facts(settings, labels),
        "selection": _selection_facts(state, labels),
        "choice": None if learned.choice is None else choice_facts(learned.choice),
        "loss": learned.facts,
        "validation": _validation_facts(settings, learned),
        "history": learned.history,
        "resumed_at_epoch": len(earlier["0/losses"]) if earlier else 0,
        "environment": provenance.environment(target),
    }
    weights = _tensors(learned) | learned.transform.tensors()
    table = _label_table(rows.take(pa.array(roles.train)), labels, state)
    run = save_run(path, settings, record, weights, table)
    unfinished.remove()
    return run


def _transform_of(settings: Settings, choice: Choice | None) -> str:
    """Write the transform that was used."""
    spec = settings.recipe.transform if choice is None else choice.candidate.transform
    return str(Chain.parse(spec))


def _tensors(learned: Learned) -> dict[str, Tensor]:
    """Name what a run has learned as the run's file does."""
    selected = learned.selected.head if learned.selected else {}
    parts = {"head": learned.head, "selected": selected, "loss": learned.parameters}
    return {
        f"{part}.{name}": value.detach().cpu().contiguous()
        for part, tensors in parts.items()
        for name, value in tensors.items()
    }


def _validation_facts(settings: Settings, learned: Learned) -> dict[str, Any] | None:
    """Say what validation looked at and which epoch it prefers."""
    if learned.selected is None:
        return None
    return {
        "rows": settings.validation,
        "fold": settings.fold,
        "folds": settings.folds,
        "labels": "as a user has them, injected noise included",
        "selected_epoch": learned.selected.epoch,
        "selected_map@r": learned.selected.map_at_r,
        "last_map@r": learned.history["validation_map@r"][-1],
    }


def _counts(roles: Split, labels: TrainingLabels) -> dict[str, int]:
    return {
        "train": len(roles.train),
        "query": len(roles.query),
        "gallery": len(roles.gallery),
        "train_classes": len(labels.classes),
    }


def _noise_facts(settings: Settings, labels: TrainingLabels) -> dict[str, Any] | None:
    if settings.noise is None:
        return None
    return {
        "spec": settings.noise,
        "nominal_rate": labels.nominal,
        "realised_rate": labels.injected,
        "seed": settings.seed_of_noise,
    }


def _selection_facts(state: State, labels: TrainingLabels) -> dict[str, Any]:
    """Describe what the selection dropped, and how rightly, where the truth is known."""
    weights, scores = state.weights.cpu().numpy(), state.scores.cpu().numpy()
    rate = float(state.noise_rate)
    flagged = weights < DOUBTFUL
    facts: dict[str, Any] = {
        "noise_rate": None if math.isnan(rate) else rate,
        "dropped": int(flagged.sum()),
        "detection": None,
    }
    if labels.is_wrong is not None:
        found = asdict(detection(scores, flagged, labels.is_wrong))
        facts["detection"] = {
            name: None if math.isnan(value) else value for name, value in found.items()
        }
    return facts


def _label_table(rows: pa.Table, labels: TrainingLabels, state: State) -> pa.Table:
    """List the training rows: the label used, the manifest's label, score and weight."""
    columns = {
        "id": rows["id"],
        "label": pa.array([labels.classes[number] for number in labels.used]),
        "given_label": rows["label"],
        "score": pa.array(state.scores.cpu().numpy()),
        "weight": pa.array(state.weights.cpu().numpy()),
    }
    if labels.is_wrong is not None:
        columns["is_wrong"] = pa.array(labels.is_wrong)
    return pa.table(columns)
