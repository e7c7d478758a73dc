"""A store's features on their way to the device: all at once, or from the disk while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from cache.feature_rows import FeatureRows
from cache.store import FeatureStore
from pipeline.choices.recipes import AGREEMENT, AUTO
from pipeline.choices.settings import Settings
from pipeline.labels.training import Source
from pipeline.program.rows import Rows, Streamed
from pipeline.training.budget import free_bytes
from pipeline.training.protocol import Split
from pipeline.transforms.chain import Chain

RESIDENT, STREAMED = "resident", "streamed from disk"


class Held(NamedTuple):
    """A store's features, where they fit.

    Attributes:
        values: (M, F) raw features of all rows of the store, for the device.
        source: the same rows, for labels and noise.
        facts: where they are and why, for the record.
    """

    values: Rows
    source: Source
    facts: dict[str, Any]


def hold(
    store: FeatureStore, device: torch.device, *, beside: int, memory: int | None = None
) -> Held:
    """Read the features, if they fit into the memory; else leave them on the disk.

    Args:
        store: a complete store.
        device: where they are needed.
        beside: bytes that are made of them there while they are held.
        memory: bytes that all this may take; None = most of what is free.

    Raises:
        StoreIncompleteError: the extraction has not finished.
        StoreCorruptError: a chunk is missing or damaged; on the disk it is noticed when it is read.
    """
    disk, limit = store.on_disk(), free_bytes(device) if memory is None else memory
    stored = disk.num_rows * disk.num_features * disk.dtype.itemsize
    is_resident = stored + beside <= limit and (
        device.type != "cuda" or stored <= free_bytes(torch.device("cpu"))
    )
    facts = {
        "held": RESIDENT if is_resident else STREAMED,
        "needed_bytes": stored + beside,
        "memory_bytes": limit,
    }
    if is_resident:
        features = store.read()
        return Held(torch.from_numpy(features.values).to(device), features, facts)
    # The other half is for what there is beside the rows of the next steps.
    values = Streamed(disk, np.arange(disk.num_rows), device, limit // 2)
    source = OnDisk(store.readable_rows(), store.fingerprint.rows_digest, ByRow(disk))
    return Held(values, source, facts)


def bytes_of_training(num_features: int, roles: Split, settings: Settings) -> int:
    """Count what a training makes of resident features: float32 rows, transformed.

    Those that train count twice, for a selection may bring a copy of them to unit norm. Fitting a
    matrix takes four of (F, F) in float64: the sums, the covariance, and its directions twice.
    `agreement` and `auto` hold five forms of the rows that train, and closed forms eight of (F, F).
    """
    chain, recipe = Chain.parse(settings.recipe.transform), settings.recipe
    train = len(roles.train)
    validation = train + (0 if roles.val is None else len(roles.val))
    forms = 5 if settings.loss == AUTO or recipe.selection == AGREEMENT else 2
    rows = forms * train + (0 if settings.validation is None else validation)
    fitting = 4 * 8 * num_features**2 if chain.has_matrix else 0
    computing = 8 * 8 * num_features**2 if settings.has_head and recipe.loss is None else 0
    return 4 * chain.width(num_features) * rows + fitting + computing


@dataclass(frozen=True)
class ByRow:
    """Raw features, read when they are asked for."""

    disk: FeatureRows

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.floating]:
        """Read rows (n,) in any order: (n, F) in the store's dtype."""
        different, place = np.unique(rows, return_inverse=True)
        return self.disk.take(different)[place]


@dataclass(frozen=True)
class OnDisk:
    """What `cache.store.Features` is, but the values stay on the disk."""

    rows: pa.Table
    manifest: str
    values: ByRow
