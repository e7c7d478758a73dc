"""The parts of an extraction, made again from the facts that a store keeps of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cache.errors import InputError
from cache.fingerprint import Fingerprint
from cache.places.urls import Location
from pipeline import backbones
from pipeline.backbones._backbone import Backbone
from pipeline.extraction.job import REVISION
from pipeline.extraction.pictures.decoding import Reading
from pipeline.extraction.pictures.views import Augmentation

IMPORTED = "imported:"  # what the backbone of features from other programs begins with


def backbone_of(facts: Fingerprint, *, weights: Path | None = None) -> Backbone:
    """Load the backbone that a store was made with, with its pools and its way of reading files.

    Args:
        facts: of the store.
        weights: file of the weights; None takes the published ones.

    Raises:
        InputError: the features came from another program, or the backbone cannot be loaded.
        WeightsUnavailableError: the published weights are not on this disk and cannot be fetched.
    """
    if facts.backbone.startswith(IMPORTED):
        raise InputError("the features came from another program, which alone can make them")
    backbone = backbones.load_backbone(facts.backbone, weights=weights, pool=facts.pool)
    transform: Mapping[str, Any] = facts.transform
    reading = Reading(
        exif="rotate" if transform.get("exif_rotation") else "ignore",
        truncated=transform.get("truncated", "skip"),
        max_pixels=transform.get("max_pixels"),
    )
    return replace(backbone, transform=replace(backbone.transform, reading=reading))


def same_backbone(
    facts: Fingerprint,
    path: Location,
    *,
    pool: str | None = None,
    weights: Path | None = None,
    otherwise: str,
) -> Backbone:
    """Load the backbone that a store was made with, and make sure that it still is the same.

    Versions of libraries round, they do not count here.

    Args:
        facts: of the store.
        path: of the store, for the message.
        pool: one of the store's; None = all of them.
        weights: file of the weights; None takes the published ones.
        otherwise: what to do if it is another one, for the message.

    Raises:
        InputError: it cannot be loaded, or would make other features.
        WeightsUnavailableError: the published weights are not on this disk and cannot be fetched.
    """
    backbone = backbone_of(replace(facts, pool=pool or facts.pool), weights=weights)
    now = facts_now(facts, backbone, facts.versions)
    for field, then, found in facts.differences(now):
        is_weights = field == "weights_sha256"
        advice = "name the file of its weights with --weights, or " if is_weights else ""
        raise InputError(
            f"{path} was made with another backbone than there is now: {field} is {_short(then)} "
            f"there, now {_short(found)}: {advice}{otherwise}"
        )
    return backbone


def augmentation_of(facts: Fingerprint) -> Augmentation:
    """Return how the views of a store were made."""
    made: Mapping[str, Any] = facts.augmentation
    if not facts.views:
        return Augmentation(views=0)
    return Augmentation(
        views=facts.views,
        seed=made["seed"],
        scale=tuple(made["scale"]),
        ratio=tuple(made["ratio"]),
        flip=made["flip"],
    )


def facts_now(facts: Fingerprint, backbone: Backbone, versions: Mapping[str, str]) -> Fingerprint:
    """Return what the facts of a store would be if it were made now, of the same images.

    Args:
        facts: of the store.
        backbone: what `backbone_of` gave.
        versions: of the libraries.
    """
    return replace(
        facts,
        weights_sha256=backbone.weights_sha256,
        transform=backbone.transform.to_json(),
        num_features=backbone.num_features,
        augmentation=augmentation_of(facts).to_json(),
        versions=versions,
        code=REVISION,
    )


def _short(value: object) -> str:
    """Write a value in a few letters, enough of a digest to tell it from others."""
    text = json.dumps(value, default=str).strip('"')
    return text if len(text) <= 40 else f"{text[:12]}..."
