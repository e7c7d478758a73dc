"""Label overlays: noise as a file that can be shared, beside a store and never inside it.

`dml train --noise file:OVERLAY.parquet` trains with one; `pipeline.noise._overlay` is its form.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cache.errors import InputError
from cache.store import FeatureStore
from pipeline.choices.settings import Settings
from pipeline.labels.corruption import NoiseSpec
from pipeline.labels.training import training_labels
from pipeline.noise._overlay import FORMAT, Facts, Overlay, write_new
from pipeline.runs.workspace import FOLDER
from pipeline.training import protocol as protocols

_FILES = ("path", "cleaned")  # options of noises that name files


def make_overlay(
    store: FeatureStore, noise: str, *, seed: int = 0, protocol: protocols.Name | None = None
) -> Overlay:
    """Apply a noise to the training rows of a store, as a training with that seed would.

    Args:
        store: a complete store.
        noise: a spec, for example "symmetric:0.5" or "file:list.csv".
        seed: of the noise, at least 0.
        protocol: which rows train; None = what the store's splits suggest.

    Raises:
        InputError: the noise cannot be applied to these rows.
        StoreIncompleteError: the extraction has not finished.
    """
    settings = Settings(noise=noise, seed=seed, protocol=protocol).check()
    features = store.read()
    roles = protocols.split(features.rows, protocol)
    labels = training_labels(roles, settings, features)
    rows = features.rows.take(roles.train)
    fingerprint = store.fingerprint
    facts = Facts(
        format=FORMAT,
        noise=without_folders(noise),
        seed=seed,
        nominal_rate=labels.nominal,
        realised_rate=labels.injected or 0.0,
        manifest=features.manifest,
        protocol=roles.protocol,
        features=f"{fingerprint.backbone} {fingerprint.weights_sha256[:12]}",
        classes=labels.classes,
        dml=version("dml"),
    )
    return Overlay(
        ids=tuple(rows["id"].to_pylist()),
        paths=tuple(rows["path"].to_pylist()),
        labels=tuple(labels.classes[number] for number in labels.used),
        given=tuple(rows["label"].to_pylist()),
        facts=facts,
    )


def without_folders(noise: str) -> str:
    """Write a spec with the names of its files alone: where they lay says nothing elsewhere."""
    spec = NoiseSpec.parse(noise)
    files = {name: Path(str(spec.options[name])).name for name in _FILES if spec.options.get(name)}
    return str(replace(spec, options={**spec.options, **files}))


def default_path(noise: str, seed: int) -> Path:
    """Name the file of an overlay after its noise: letters, digits, dots and dashes."""
    spec = NoiseSpec.parse(noise)
    source = spec.options.get("path")
    text = str(spec) if source is None else f"{spec.name}:{Path(str(source)).stem}"
    return FOLDER / "noise" / f"{re.sub(r'[^A-Za-z0-9.]+', '-', text)}-seed{seed}.parquet"


def describe(overlay: Overlay) -> dict[str, Any]:
    """Tell what an overlay is and does, as plain JSON values; every flipped row is listed."""
    flipped = overlay.flipped()
    before, after = set(overlay.given), set(overlay.facts.classes)
    return {
        **asdict(overlay.facts),
        "classes": list(overlay.facts.classes),
        "rows": len(overlay.ids),
        "given_classes": len(before),
        "classes_gone": sorted(before - after),
        "classes_new": sorted(after - before),
        "empty_classes": len(after - set(overlay.labels)),
        "most_frequent": [
            {"given_label": given, "label": label, "rows": count}
            for (given, label), count in _most_frequent(overlay, flipped)
        ],
        "flipped": [
            {
                "id": overlay.ids[row],
                "given_label": overlay.given[row],
                "label": overlay.labels[row],
            }
            for row in flipped
        ],
    }


def export_list(overlay: Overlay, path: Path) -> None:
    """Write lines `path,label`, the form of published lists.

    Raises:
        InputError: a class name holds a comma or a line break, the file exists, or it cannot be
            written.
    """
    for name in set(overlay.labels):
        if set(name) & set(",\r\n"):
            raise InputError(
                f"class {name!r} holds a comma or a line break, which lines path,label cannot: "
                "share the overlay itself"
            )
    lines = (f"{at},{label}\n" for at, label in zip(overlay.paths, overlay.labels, strict=True))
    write_new(path, "".join(lines).encode())


def _most_frequent(overlay: Overlay, rows: list[int]) -> list[tuple[tuple[str, str], int]]:
    pairs = Counter((overlay.given[row], overlay.labels[row]) for row in rows)
    return pairs.most_common(5)
