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
from pipeline.choices.settings import Settings
from pipeline.corruption import NoiseSpec
from pipeline.embed import pick_device
from pipeline.measures.detection import detection
from pipeline.program.fit import Fit, Schedule, fit
from pipeline.program.heads import Centring
from pipeline.program.method import Method
from pipeline.protocol import Split, split
from pipeline.runs import provenance
from pipeline.runs.record import Run, refuse_unusable, save_run
from pipeline.selection._state import State

Progress = Callable[[int, int], None]
Rows = NDArray[np.int64]


class TrainingLabels(NamedTuple):
    """Labels of the N training rows.

    Attributes:
        used: (N,) int64 in 0..C-1, what the loss and the selection see.
        classes: C names.
        is_wrong: (N,) bool, where it is known which labels are wrong; for the record only.
        injected: share of labels that the noise changed; None without noise.
    """

    used: Rows
    classes: tuple[str, ...]
    is_wrong: NDArray[np.bool_] | None
    injected: float | None


def train(
    store: FeatureStore,
    settings: Settings,
    path: Path,
    *,
    device: str = "auto",
    progress: Progress = lambda done, total: None,
) -> Run:
    """Train one run.

    Args:
        store: a complete store.
        settings: what to train.
        path: folder of the new run.
        device: "auto", "cpu", "cuda" or "mps".
        progress: is told the finished and the total epochs.

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
    state, weights, history = _learn(centring(values), labels, settings, progress)
    record = {
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "seconds": round(time.perf_counter() - begun, 3),
        "store": {"path": str(store.path), "fingerprint": store.fingerprint.digest()},
        "protocol": roles.protocol,
        "counts": _counts(roles, labels),
        "noise": _noise_facts(settings, labels),
        "selection": _selection_facts(state, labels),
        "history": history,
        "environment": provenance.environment(target),
    }
    weights |= {"mean": centring.mean.cpu(), "scale": centring.scale.cpu()}
    return save_run(path, settings, record, weights, _label_table(features, roles, labels, state))


def training_labels(roles: Split, settings: Settings) -> TrainingLabels:
    """Number the training classes and inject the noise.

    True labels end here: they only say afterwards which labels were wrong.
    """
    given, true = roles.given[roles.train], roles.true[roles.train]
    present, dense = np.unique(given, return_inverse=True)
    used = dense.astype(np.int64)
    classes = tuple(roles.classes[number] for number in present)
    if settings.noise is None:
        known = bool((roles.given != roles.true).any())
        return TrainingLabels(used, classes, given != true if known else None, None)
    noisy = NoiseSpec.parse(settings.noise).apply(used, len(classes), settings.seed)
    return TrainingLabels(noisy, classes, present[noisy] != true, float((noisy != used).mean()))


def method_of(settings: Settings) -> Method:
    """Bring loss and selection together as the settings say."""
    recipe = settings.recipe
    if recipe.loss is None:
        raise InputError(f"{settings.loss} trains nothing")
    loss = catalogue.find("losses", recipe.loss).load()
    selection = catalogue.find("selection", recipe.selection).load()
    batch_size = settings.batch_size or loss.BATCH_SIZE
    if loss.SAMPLER == "balanced" and batch_size < settings.rows_per_class:
        raise InputError(
            f"batch_size is {batch_size}: loss {recipe.loss} needs at least rows_per_class "
            f"({settings.rows_per_class}) rows in each step"
        )
    return Method(
        loss_module=loss,
        selection_module=selection,
        loss_options=settings.options_of("loss"),
        select_options=settings.options_of("select"),
        batch_size=batch_size,
        rows_per_class=settings.rows_per_class,
        bank=settings.bank or str(getattr(selection, "BANK", "full")),
        bank_size=settings.bank_size,
    )


def schedule_of(settings: Settings) -> Schedule:
    """Read from the settings how long and how fast to train."""
    return Schedule(
        epochs=settings.epochs,
        dim=settings.dim,
        lr=settings.lr,
        proxy_lr=settings.proxy_lr,
        weight_decay=settings.weight_decay,
    )


def _learn(
    values: Tensor, labels: TrainingLabels, settings: Settings, progress: Progress
) -> tuple[State, dict[str, Tensor], dict[str, list[float]]]:
    """Train on centred features (N, F); returns the selection's state, tensors and history."""
    used = torch.from_numpy(labels.used).to(values.device)
    num_classes = len(labels.classes)
    if settings.recipe.loss is None:
        return select_only(values, used, num_classes, settings), {}, {}
    method, schedule, seeds = method_of(settings), schedule_of(settings), [settings.seed]
    result = fit(values, used[None], num_classes, method, schedule, seeds, progress)
    history = {"loss": _column(result.losses), "kept": _column(result.kept)}
    tensors = _tensors(result)
    is_finite = all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    if not (is_finite and all(map(math.isfinite, history["loss"]))):
        raise InputError(
            f"training diverged (the loss became {history['loss'][-1]}): lower --set lr"
        )
    return result.selection[0], tensors, history


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
    parts = {"head": result.head, "loss": result.loss_parameters}
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
