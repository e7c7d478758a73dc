"""The labels that an audit looked at, as an overlay, where a noise had made them wrong."""

from __future__ import annotations

from importlib.metadata import version

from cache.store import FeatureStore
from pipeline.audit.subject import Subject
from pipeline.labels.overlays import without_folders
from pipeline.noise._overlay import FORMAT, Facts, Overlay
from pipeline.training import protocol as protocols


def overlay_of(
    looked_at: Subject, store: FeatureStore, *, noise: str, seed: int, protocol: protocols.Name
) -> Overlay:
    """Write down the audited labels, so that decisions about them can be applied to just these.

    Args:
        looked_at: the images and their labels.
        store: with the labels as given.
        noise: the spec of the noise.
        seed: that it was drawn with.
        protocol: which rows were looked at.
    """
    given_of = dict(zip(*(store.rows[name].to_pylist() for name in ("id", "label")), strict=True))
    given = tuple(given_of[key] for key in looked_at.ids)
    labels = tuple(looked_at.classes[number] for number in looked_at.labels.tolist())
    changed = sum(label != before for label, before in zip(labels, given, strict=True))
    fingerprint = store.fingerprint
    facts = Facts(
        format=FORMAT,
        noise=without_folders(noise),
        seed=seed,
        nominal_rate=None,
        realised_rate=changed / len(labels),
        manifest=fingerprint.rows_digest,
        protocol=protocol,
        features=f"{fingerprint.backbone} {fingerprint.weights_sha256[:12]}",
        classes=looked_at.classes,
        dml=version("dml"),
    )
    return Overlay(looked_at.ids, looked_at.paths, labels, given, facts)
