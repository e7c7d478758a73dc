"""Further label columns of a feature file as label overlays, which `--noise file:...` takes."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from cache.errors import InputError
from pipeline.noise._overlay import FORMAT, Facts, Overlay, read_overlay, write_overlay

ALL_ROWS = "all rows"  # a protocol's training rows are among them, whichever it is


def save_overlays(
    folder: Path,
    labels: Mapping[str, Sequence[str]],
    rows: Mapping[str, Sequence[str]],
    *,
    manifest: str,
    features: str,
    source: str,
) -> dict[str, Path]:
    """Write an overlay for each column, or bring it up to date.

    Args:
        folder: where `NAME.parquet` is written.
        labels: N labels each, by column.
        rows: the store's columns id, path and label, N texts each.
        manifest: digest of the store's manifest.
        features: what the store's features are.
        source: name of the file that the labels come from.

    Returns:
        The overlay of each column.

    Raises:
        InputError: one cannot be written.
    """
    paths: dict[str, Path] = {}
    for name in labels:
        path = folder / f"{_file_name(name)}.parquet"
        if path in paths.values():
            raise InputError(f"two arrays of {source} are called {path.stem}: rename {name!r}")
        paths[name] = path
    for name, path in paths.items():
        overlay = _overlay(labels[name], rows, f"file:{source},key={name}", manifest, features)
        if not path.exists() or read_overlay(path) != overlay:
            _replace(path, overlay)
    return paths


def _overlay(
    labels: Sequence[str],
    rows: Mapping[str, Sequence[str]],
    noise: str,
    manifest: str,
    features: str,
) -> Overlay:
    given = rows["label"]
    used = dict.fromkeys(labels)
    old = sorted(set(given) & set(used), key=_natural)
    changed = sum(a != b for a, b in zip(labels, given, strict=True))
    facts = Facts(
        format=FORMAT,
        noise=noise,
        seed=0,
        nominal_rate=None,
        realised_rate=changed / len(given),
        manifest=manifest,
        protocol=ALL_ROWS,
        features=features,
        classes=(*old, *sorted(set(used) - set(old), key=_natural)),
        dml=version("dml"),
    )
    return Overlay(tuple(rows["id"]), tuple(rows["path"]), tuple(labels), tuple(given), facts)


def _replace(path: Path, overlay: Overlay) -> None:
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        write_overlay(part, overlay)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-.") or "labels"


def _natural(name: str) -> tuple[bool, int, str]:
    """Sort whole numbers by value, before all other names."""
    is_number = name.isascii() and name.isdecimal()
    return not is_number, int(name) if is_number else 0, name
