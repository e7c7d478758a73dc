"""Stage two: trains a head on a store's features and writes a run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache.errors import InputError
from cache.store import Features, FeatureStore
from pipeline.choices import catalogue
from pipeline.choices.assembly import method_of, schedule_of
from pipeline.choices.settings import Settings
from pipeline.embed import pick_device
from pipeline.labels import TrainingLabels, training_labels
from pipeline.measures.detection import detection
from pipeline.program.fit import Fit, fit
from pipeline.program.heads import Centring
from pipeline.program.loop import Program
from pipeline.program.snapshots import snapshot
from pipeline.protocol import Split, split
from pipeline.runs import provenance
from pipeline.runs.record import Run, refuse_unusable, save_run
from pipeline.runs.unfinished import Unfinished
from pipeline.selection._state import State

Progress = Callable[[int, int], None]
Rows = NDArray[np.int64]


class Learned(NamedTuple):
    """What a training leaves behind.

    Attributes:
        state: of the selection.
        weights: tensors by their names in the run's file.
        history: figures of each epoch.
        facts: what the loss says of all training rows in the end.
        resumed_at: epochs that an interrupted training had done before; 0 = none.
    """

    state: State
    weights: dict[str, Tensor]
    history: dict[str, list[float]]
    facts: dict[str, float]
    resumed_at: int


def train(
    store: FeatureStore,
    settings: Settings,
    path: Path,
    *,
    device: str = "auto",
    progress: Progress = lambda done, total: None,
    snapshot_seconds: float = 30.0,
) -> Run:
    """Train one run, or go on with one that was interrupted at the same path.

    Args:
        store: a complete store.
        settings: what to train.
        path: folder of the new run.
        device: "auto", "cpu", "cuda" or "mps".
        progress: is told the finished and the total epochs.
        snapshot_seconds: the least time between two snapshots to go on from.

    Raises:
        InputError: settings, labels or path cannot be used, or the training diverged.
        StoreIncompleteError: the extraction has not finished.
    """
    settings.check()
    refuse_unusable(path)
    features = store.read()
    roles = split(features.rows, settings.protocol)
    labels = training_labels(roles, settings)
    begun = time.perf_counter()
    target = pick_device(device)
    values = torch.from_numpy(features.values[roles.train]).to(target)
    centring = Centring.of(values)
    identity = {"settings": asdict(settings), "store": store.fingerprint.digest()}
    unfinished = Unfinished(path, identity, seconds=snapshot_seconds)
    learned = _learn(centring(values), labels, settings, progress, unfinished)
    state = learned.state
    record = {
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "seconds": round(time.perf_counter() - begun, 3),
        "store": {"path": str(store.path), "fingerprint": store.fingerprint.digest()},
        "protocol": roles.protocol,
        "counts": _counts(roles, labels),
        "noise": _noise_facts(settings, labels),
        "selection": _selection_facts(state, labels),
        "loss": learned.facts,
        "history": learned.history,
        "resumed_at_epoch": learned.resumed_at,
        "environment": provenance.environment(target),
    }
    weights = learned.weights | {"mean": centring.mean.cpu(), "scale": centring.scale.cpu()}
    table = _label_table(features, roles, labels, state)
    run = save_run(path, settings, record, weights, table)
    unfinished.remove()
    return run


def _learn(
    values: Tensor,
    labels: TrainingLabels,
    settings: Settings,
    progress: Progress,
    unfinished: Unfinished,
) -> Learned:
    """Train on centred features (N, F)."""
    used = torch.from_numpy(labels.used).to(values.device)
    num_classes = len(labels.classes)
    if settings.recipe.loss is None:
        return Learned(select_only(values, used, num_classes, settings), {}, {}, {}, 0)
    earlier = unfinished.load()

    def observe(program: Program) -> None:
        if program.epochs_done < settings.epochs:
            unfinished.save(lambda: snapshot(program))

    result = fit(
        values,
        used[None],
        num_classes,
        method_of(settings),
        schedule_of(settings),
        [settings.seed],
        progress,
        snapshot=earlier,
        observe=observe,
    )
    history = {"loss": _column(result.losses), "kept": _column(result.kept)}
    tensors = _tensors(result)
    is_finite = all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    if not (is_finite and all(map(math.isfinite, history["loss"]))):
        raise InputError(
            f"training diverged (the loss became {history['loss'][-1]}): lower --set lr"
        )
    resumed_at = len(earlier["losses"]) if earlier else 0
    return Learned(result.selection[0], tensors, history, result.facts[0], resumed_at)


def select_only(values: Tensor, labels: Tensor, num_classes: int, settings: Settings) -> State:
    """Let the selection look at the frozen features, without any training."""
    selection = catalogue.find("selection", settings.recipe.selection).load()
    generator = torch.Generator().manual_seed(settings.seed)
    state: State = selection.start(
        values, labels, num_classes, generator, **settings.options_of("select")
    )
    return state


def _tensors(result: Fit) -> dict[str, Tensor]:
    """Name the tensors of the first run as the run's file does."""
    parts = {"head": result.head, "loss": result.learned}
    return {
        f"{part}.{name}": value[0].detach().cpu().contiguous()
        for part, tensors in parts.items()
        for name, value in tensors.items()
    }


def _column(values: Tensor) -> list[float]:
    return [float(value) for value in values[:, 0]]


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
    return {"spec": settings.noise, "realised_rate": labels.injected, "seed": settings.seed}


def _selection_facts(state: State, labels: TrainingLabels) -> dict[str, Any]:
    """Describe what the selection dropped, and how rightly, where the truth is known."""
    weights, scores = state.weights.cpu().numpy(), state.scores.cpu().numpy()
    rate = float(state.noise_rate)
    flagged = weights == 0
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


def _label_table(
    features: Features, roles: Split, labels: TrainingLabels, state: State
) -> pa.Table:
    """List the training rows: the label used, the manifest's label, score and weight."""
    rows = features.rows.take(pa.array(roles.train))
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
