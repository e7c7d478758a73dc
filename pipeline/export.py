"""Exports a run: a model file that needs nothing of this program, with its model card."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cache.errors import InputError
from cache.store import FeatureStore
from pipeline.backbones._backbone import Backbone
from pipeline.evaluate import embedder, evaluate_run
from pipeline.exporting import onnx, torchscript
from pipeline.exporting import weights as head_weights
from pipeline.exporting.card import Check, Model, card, summary
from pipeline.exporting.folder import CARD, README, Target, refuse_unusable, save, target_of
from pipeline.exporting.module import Epoch, Head, WithBackbone, head_of
from pipeline.exporting.readme import readme
from pipeline.exporting.samples import Sample, features_of, pictures_of
from pipeline.exporting.written import Written
from pipeline.extraction.again import same_backbone
from pipeline.extraction.overlap import run_network
from pipeline.runs.opening import refuse_other_store
from pipeline.runs.record import Run

Format = Literal["onnx", "torchscript", "safetensors"]
Progress = Callable[[int, int], None]
Embed = Callable[[NDArray[np.generic]], NDArray[np.float32]]
LEAST_COSINE = 0.9999
_WRITERS: dict[str, ModuleType] = {
    "onnx": onnx,
    "torchscript": torchscript,
    "safetensors": head_weights,
}
_CPU = torch.device("cpu")
_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote.

    Attributes:
        folder: where it is.
        files: the model, README.md and card.json.
        card: the facts in card.json.
        seconds: duration.
    """

    folder: Path
    files: tuple[Path, ...]
    card: dict[str, Any]
    seconds: float


def export(
    run: Run,
    store: FeatureStore,
    out: Path,
    *,
    format: Format = "onnx",
    with_backbone: bool = False,
    epoch: Epoch = "last",
    weights: Path | None = None,
    figures: bool = True,
    force: bool = False,
    command: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Exported:
    """Write a run as a model file, after comparing that file with the run itself.

    Args:
        run: what was trained.
        store: what it was trained on.
        out: a folder, or the model file, whose folder then gets the card.
        format: "onnx", "torchscript" or "safetensors".
        with_backbone: whether the file takes pictures, resized and cropped, (B, 3, H, W) uint8;
            else it takes features (B, F) float32.
        epoch: whose weights: of the last one, or of the one that validation has selected.
        weights: file of the backbone's weights; None takes the published ones.
        figures: whether the card says what `dml eval` measures.
        force: whether an earlier export there is replaced.
        command: what the user typed, for the card.
        progress: is told the finished and the total steps.

    Raises:
        InputError: something does not fit, or the file gives other embeddings than the run; then
            nothing is written.
        WeightsUnavailableError: the published weights are not on this disk and cannot be fetched.
        DiskFullError: there is no room; nothing is written.
    """
    begun = time.perf_counter()
    refuse_other_store(run, store)
    store = store.choose(run.settings.features)
    writer = _writer(format)
    writer.check(with_backbone=with_backbone)
    target = target_of(out, writer.SUFFIX)
    refuse_unusable(target, is_forced=force)
    head = Head(head_of(run.weights(), epoch)).eval()
    subject = (
        _with_backbone(run, store, head, epoch, weights)
        if with_backbone
        else _Subject(head, "features", features_of(store), _embed_features(run, epoch))
    )
    progress(1, _STEPS)
    written = _write(writer, subject, summary(run, store, epoch))
    progress(2, _STEPS)
    check = _compare(written, subject, _embed_features(run, epoch))
    progress(3, _STEPS)
    facts = card(
        run,
        store,
        _model(target, format, written, subject, epoch),
        check,
        figures=_figures(run, store) if figures else None,
        command=command,
    )
    content = json.dumps(facts, indent=2, allow_nan=False) + "\n"
    texts = {README: readme(facts).encode(), CARD: content.encode()}
    save(target, {target.model: written.content, **texts})
    progress(_STEPS, _STEPS)
    seconds = time.perf_counter() - begun
    return Exported(folder=target.folder, files=target.files, card=facts, seconds=seconds)


class _Subject(NamedTuple):
    """What is exported, and how it is tried.

    Attributes:
        module: one input, one output.
        name: of the input.
        sample: inputs.
        embed: what the run itself makes of such inputs.
    """

    module: nn.Module
    name: str
    sample: Sample
    embed: Embed


def _with_backbone(
    run: Run, store: FeatureStore, head: Head, epoch: Epoch, weights: Path | None
) -> _Subject:
    backbone = _backbone(store, weights)
    return _Subject(
        WithBackbone(backbone, head).eval(),
        "pixels",
        pictures_of(store, backbone.transform),
        _embed_pictures(backbone, _embed_features(run, epoch)),
    )


def _writer(format: str) -> ModuleType:
    if format not in _WRITERS:
        raise InputError(f"unknown format {format!r}: choose from {', '.join(_WRITERS)}")
    return _WRITERS[format]


def _backbone(store: FeatureStore, weights: Path | None) -> Backbone:
    """Load the backbone that made the store's chosen features, with just their pool.

    Raises:
        InputError: it is not to be had, or it is another one now.
    """
    facts = store.fingerprint
    pool, is_view, _ = store.features.partition("@")
    if is_view:
        raise InputError(
            f"the run was trained on {store.features}, features of randomly cropped pictures, "
            f"which no model file makes: train with --features {pool}, or export without "
            "--with-backbone"
        )
    without = "export without --with-backbone"
    return same_backbone(facts, store.path, pool=pool, weights=weights, otherwise=without)


def _embed_features(run: Run, epoch: Epoch) -> Embed:
    """Embed features (B, F) as `dml eval` does."""
    embed = embedder(run, _CPU, "head" if epoch == "last" else "selected")
    return lambda features: embed(torch.from_numpy(features)).numpy()


def _embed_pictures(backbone: Backbone, embed: Embed) -> Embed:
    """Embed pixels (B, 3, H, W) as `dml extract` and then `dml eval` do, all in float32."""

    def run(pixels: NDArray[np.generic]) -> NDArray[np.float32]:
        return embed(run_network(backbone, torch.from_numpy(pixels), "float32")[:, 0].numpy())

    return run


def _write(writer: ModuleType, subject: _Subject, facts: dict[str, str]) -> Written:
    # Two rows, even of a single one: what is 1 in an example, exporters take for a constant.
    example = torch.from_numpy(subject.sample.inputs[[0, -1]])
    with torch.no_grad():
        written: Written = writer.write(subject.module, example, subject.name, facts)
    return written


def _compare(written: Written, subject: _Subject, of_features: Embed) -> Check:
    """Run the file on all inputs and on one alone.

    Raises:
        InputError: it cannot be run so, or gives other embeddings.
    """
    inputs, told, stored = subject.sample
    right = subject.embed(inputs)
    try:
        found, alone = written.run(inputs), written.run(inputs[:1])
    # Each format's program has errors of its own.
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"nothing was written: the exported model does not take any number of inputs ({reason})"
            ": use another --format, or export without --with-backbone"
        ) from error
    least = min(_least_cosine(found, right), _least_cosine(alone, right[:1]))
    if not least >= LEAST_COSINE:  # NaN, too
        raise InputError(
            f"nothing was written: on {told} the exported model differs from the run, least cosine "
            f"{least:.6f}, expected at least {LEAST_COSINE}: use another --format, or export "
            "without --with-backbone"
        )
    to_store = None if stored is None else _least_cosine(found, of_features(stored))
    return Check(
        on=told,
        rows=len(right),
        min_cosine=least,
        required=LEAST_COSINE,
        min_cosine_to_store=to_store,
    )


def _least_cosine(found: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """Compare rows (B, D); of other shapes or lengths the cosine counts as 0."""
    if found.shape != right.shape:
        return 0.0
    length, expected = (np.linalg.norm(each, axis=1) for each in (found, right))
    if not np.allclose(length, expected, atol=1e-4):
        return 0.0
    # An embedding of length 0, the one of a feature vector that the head maps to 0, equals itself.
    products = (found.astype(np.float64) * right).sum(axis=1) + (expected < 0.5)
    return float(products.clip(-1, 1).min())


def _figures(run: Run, store: FeatureStore) -> dict[str, dict[str, float]]:
    return {row: found.shares() for row, found in evaluate_run(run, store).rows.items()}


def _model(
    target: Target, format: Format, written: Written, subject: _Subject, epoch: Epoch
) -> Model:
    inputs = subject.sample.inputs
    shape, width = inputs.shape[1:], written.run(inputs[:1]).shape[1]
    return Model(
        file=target.model,
        format=format,
        with_backbone=len(shape) > 1,
        epoch=epoch,
        bytes=len(written.content),
        sha256=hashlib.sha256(written.content).hexdigest(),
        input={"name": subject.name, "dtype": str(inputs.dtype), "shape": ["B", *shape]},
        output={"name": "embeddings", "dtype": "float32", "shape": ["B", width]},
        details=written.facts,
    )
