"""The parts of an extraction, made again from the facts that a store keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cache.errors import InputError
from cache.fingerprint import Fingerprint
from pipeline import backbones
from pipeline.backbones._backbone import Backbone
from pipeline.extraction.job import REVISION
from pipeline.extraction.pictures.decoding import Reading
from pipeline.extraction.pictures.views import Augmentation

_ELSEWHERE = "imported:"  # what the backbone of features from other programs begins with


def backbone_of(facts: Fingerprint, *, weights: Path | None = None) -> Backbone:
    """Load the backbone that a store was made with, with its pools and its way of reading files.

    Args:
        facts: of the store.
        weights: file of the weights; None takes the published ones.

    Raises:
        InputError: the features came from another program, or the backbone cannot be loaded.
        WeightsUnavailableError: the published weights are not on this disk and cannot be fetched.
    """
    if facts.backbone.startswith(_ELSEWHERE):
        raise InputError("the features came from another program, which alone can make them")
    backbone = backbones.load_backbone(facts.backbone, weights=weights, pool=facts.pool)
    transform: Mapping[str, Any] = facts.transform
    reading = Reading(
        exif="rotate" if transform.get("exif_rotation") else "ignore",
        truncated=transform.get("truncated", "skip"),
        max_pixels=transform.get("max_pixels"),
    )
    return replace(backbone, transform=replace(backbone.transform, reading=reading))


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
