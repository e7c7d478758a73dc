"""The model card: all facts of an exported run, as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cache.store import FeatureStore
from pipeline.exporting.module import Epoch
from pipeline.runs.record import Run
from pipeline.transforms.chain import Chain

FORMAT = "dml model card 1"
_LIBRARIES = ("dml", "torch", "timm", "torchvision", "numpy", "onnx", "onnxscript", "onnxruntime")
_LICENCE = (
    "The head is yours. Whether this file and its results may be used depends on the licences of "
    "the backbone's weights and of the training images, which dml does not know: look them up "
    "before you pass it on."
)
_INSIDE = ["scaling to [0, 1]", "normalisation by mean and std", "backbone", "pooling"]
_NORM = "scaling to unit norm"
_OUTSIDE = ["decoding to 8-bit RGB", "resizing", "centre crop"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """How the exported file compares with the run that it was made of.

    Attributes:
        on: what both were given, in words.
        rows: how many inputs, also one alone.
        min_cosine: the least cosine of a row's two embeddings.
        required: below this no file is written.
        min_cosine_to_store: the least cosine of the file's embeddings of pictures and those of the
            stored features, which were rounded on their way into the store; None if not compared.
    """

    on: str
    rows: int
    min_cosine: float
    required: float
    min_cosine_to_store: float | None


@dataclass(frozen=True, kw_only=True)
class Model:
    """The exported file.

    Attributes:
        file: its name.
        format: "onnx", "torchscript" or "safetensors".
        with_backbone: whether it takes pictures.
        epoch: whose weights it holds.
        bytes: its size.
        sha256: of its content.
        input: name, dtype and shape.
        output: name, dtype and shape.
        details: of the format.
    """

    file: str
    format: str
    with_backbone: bool
    epoch: Epoch
    bytes: int
    sha256: str
    input: Mapping[str, Any]
    output: Mapping[str, Any]
    details: Mapping[str, Any]


def card(
    run: Run,
    store: FeatureStore,
    model: Model,
    check: Check,
    *,
    figures: Mapping[str, Mapping[str, float]] | None,
    command: str | None,
) -> dict[str, Any]:
    """Collect the facts as plain JSON values.

    Args:
        run: what was exported.
        store: what it was trained on, with the run's features chosen.
        model: the file.
        check: how it was compared.
        figures: row -> metric -> share in [0, 1], as `dml eval` measures them; None = not measured.
        command: what the user typed.
    """
    record = run.record
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "name": run.path.absolute().name,
        "model": asdict(model),
        "check": asdict(check),
        "preprocessing": _preprocessing(run, store, model),
        "backbone": {
            "name": store.fingerprint.backbone,
            "weights_sha256": store.fingerprint.weights_sha256,
            "features": store.features,
            "mean_of": list(store.fingerprint.parts_of(store.features)),
            "num_features": store.num_features,
        },
        "run": {
            "path": str(run.path),
            "settings": asdict(run.settings),
            "recipe": asdict(run.settings.recipe),
            **{
                name: record[name]
                for name in ("created", "seconds", "protocol", "counts", "noise", "selection")
            },
            "transform": _transform(run),
            "loss_facts": record["loss"],
            "validation": record["validation"],
            "environment": record["environment"],
        },
        "store": {
            "path": str(store.path),
            "digest": store.fingerprint.digest(),
            "fingerprint": store.fingerprint.to_json(),
        },
        "figures": None
        if figures is None
        else {row: _finite(each) for row, each in figures.items()},
        "versions": {name: _version(name) for name in _LIBRARIES},
        "command": command,
        "licence": _LICENCE,
    }


def summary(run: Run, store: FeatureStore, epoch: Epoch) -> dict[str, str]:
    """Pick the facts that the model file itself carries, as texts."""
    facts = store.fingerprint
    return {
        "dml.run": run.path.absolute().name,
        "dml.epoch": epoch,
        "dml.backbone": facts.backbone,
        "dml.weights_sha256": facts.weights_sha256,
        "dml.features": store.features,
        "dml.store_digest": facts.digest(),
        "dml.transform": json.dumps(dict(facts.transform)),
    }


def _preprocessing(run: Run, store: FeatureStore, model: Model) -> dict[str, Any]:
    """Say which steps from image to embedding are in the file, and how the others go."""
    steps = Chain.parse(_transform(run)).described()
    head = f"{run.settings.head} head"
    inside = [*(_INSIDE if model.with_backbone else []), *steps, head, _NORM]
    outside = [*_OUTSIDE, *([] if model.with_backbone else _INSIDE)]
    return {
        "inside": inside,
        "outside": outside,
        "transform": dict(store.fingerprint.transform),
    }


def _transform(run: Run) -> str:
    """Look up what is done to features before the head; the first versions only centred them."""
    return str(run.record.get("transform", "centre"))


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in metrics.items()}


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
