"""Stores of random features."""

from __future__ import annotations

from cache import Fingerprint


def random_fingerprint(num_features: int) -> Fingerprint:
    """Return the facts of random float16 features, F a row."""
    return Fingerprint(
        backbone="random",
        weights_sha256="0" * 64,
        transform={},
        pool="none",
        num_features=num_features,
        dtype="float16",
        precision="float32",
        rows_digest="0" * 64,
        versions={},
    )
