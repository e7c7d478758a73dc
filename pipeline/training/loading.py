"""A store's features on their way to the device: all at once, or from the disk while training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache.errors import InputError
from cache.feature_rows import FeatureRows
from cache.fingerprint import MEAN
from cache.store import FeatureStore
from pipeline.choices.recipes import AGREEMENT, AUTO
from pipeline.choices.settings import Settings
from pipeline.labels.training import Source
from pipeline.program.rows import Change, Rows, Streamed, gathered
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


def pictures_of(
    store: FeatureStore, settings: Settings, device: torch.device
) -> tuple[Streamed, ...]:
    """Find the features of each picture, the plain one and its views, that steps draw from.

    Args:
        store: with the run's features chosen; their pool is taken.
        settings: of the run.
        device: where it trains.

    Returns:
        (M, F) raw features of each picture; nothing where no views are drawn.

    Raises:
        InputError: views are to be drawn, and the store has none.
        StoreIncompleteError: the extraction has not finished.
    """
    if settings.views is None:
        return ()
    facts, pool = store.fingerprint, store.features.partition("@")[0]
    if not facts.views:
        raise InputError(
            f"--views {settings.views} draws among the views of each picture, and {store.path} has "
            "none: leave it out, or extract again with --views 2 into another --store"
        )
    disks = [store.choose(name).on_disk() for name in facts.parts_of(pool + MEAN)]
    return tuple(Streamed(disk, np.arange(disk.num_rows), device, 0) for disk in disks)


def shown_of(
    pictures: Sequence[Streamed], rows: NDArray[np.int64], change: Change, width: int
) -> Tensor | None:
    """Read what steps draw from: rows (n,) of P pictures, changed, (P n, width) picture by picture.

    None where there are no pictures to draw from. What is read is checked.
    """
    if not pictures:
        return None
    count = len(rows)
    shown = torch.empty(len(pictures) * count, width, device=pictures[0].device)
    for number, picture in enumerate(pictures):
        shown[number * count : (number + 1) * count] = gathered(picture, rows, change)
    return shown


def bytes_of_training(
    num_features: int, roles: Split, settings: Settings, *, pictures: int = 0
) -> int:
    """Count what a training makes of resident features: float32 rows, transformed.

    Those that train count twice, for a selection may bring a copy of them to unit norm. Fitting a
    matrix takes four of (F, F) in float64: the sums, the covariance, and its directions twice.
    Steps that draw among pictures have all of them, and one is read at a time.
    `agreement` and `auto` hold five forms of the rows that train, and closed forms eight of (F, F).
    """
    chain, recipe = Chain.parse(settings.recipe.transform), settings.recipe
    train = len(roles.train)
    validation = train + (0 if roles.val is None else len(roles.val))
    drawn = pictures + 1 if pictures else 0
    forms = 5 if settings.loss == AUTO or recipe.selection == AGREEMENT else 2
    rows = (forms + drawn) * train + (0 if settings.validation is None else validation)
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
