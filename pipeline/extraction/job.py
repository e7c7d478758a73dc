"""What an extraction has to do for each chunk of a store, wherever it is done."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cache.ledger import FinishedChunk
from cache.places.urls import Location
from cache.stored import ChunkFiles
from pipeline.backbones._backbone import Backbone
from pipeline.extraction.embed import embed_files
from pipeline.extraction.overlap import Batch
from pipeline.extraction.pictures.views import Augmentation

# Of the code from here down to the pixels: raise it when the same image gives other features.
REVISION = 1


class Step(NamedTuple):
    """How far it is.

    Attributes:
        rows: number of rows that were embedded since the step before.
        finished: the chunk that is on the disk with them, for the ledger; None if none is.
    """

    rows: int
    finished: FinishedChunk | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """The images of a store, by its rows, and how they become features; can be sent elsewhere.

    Attributes:
        first: the store's row that the first image belongs to.
        num_rows: of the whole store; it decides whether the network is compiled.
        paths: N files, absolute or relative to `root`.
        ids: N ids, which the random numbers of the views are made of.
        sizes: N numbers of bytes, -1 where there was no file.
        root: folder or URL that relative paths start from.
        augmentation: further views of each picture.
        dtype: number format of the store.
        device: where the network runs, "cpu", "cuda" or "mps".
        precision: number format of the network's arithmetic.
        batch_size: see `embed_files`.
        workers: see `embed_files`.
        unreadable: "skip" or "stop", see `embed_files`.
    """

    first: int = 0
    num_rows: int
    paths: Sequence[str]
    ids: Sequence[str]
    sizes: Sequence[int]
    root: Location
    augmentation: Augmentation
    dtype: str
    device: str
    precision: str
    batch_size: int | None
    workers: int | None
    unreadable: str

    def part(self, rows: range) -> Job:
        """Return the job of some rows alone, which is smaller to send."""
        at = slice(rows.start - self.first, rows.stop - self.first)
        return replace(
            self,
            first=rows.start,
            paths=self.paths[at],
            ids=self.ids[at],
            sizes=self.sizes[at],
        )

    def run(
        self,
        backbone: Backbone,
        chunks: Sequence[tuple[int, range]],
        files: ChunkFiles,
        *,
        remark: Callable[[str], None] = lambda line: None,
    ) -> Generator[Step, None, None]:
        """Make chunks, one after the other, and write their files.

        Args:
            backbone: the network; it is moved to the device.
            chunks: number of each chunk, and the rows of it that are to be made.
            files: of the store.
            remark: is called with one line if something was done in another way than usual.

        Yields:
            A step after each batch, and one for each chunk that is on the disk.
        """
        batches = embed_files(
            backbone,
            self.paths,
            [range(rows.start - self.first, rows.stop - self.first) for _, rows in chunks],
            ids=self.ids,
            root=self.root,
            device=torch.device(self.device),
            precision=self.precision,
            # A batch never crosses a chunk, so a larger one would hold nothing but padding.
            batch_size=self.batch_size and min(self.batch_size, files.header.chunk_rows),
            workers=self.workers,
            augmentation=self.augmentation,
            sizes=self.sizes,
            total=self.num_rows,
            unreadable=self.unreadable,
            remark=remark,
        )
        with closing(batches):
            for number, rows in chunks:
                made: list[Batch] = []
                while sum(len(batch.files) for batch in made) < len(rows):
                    made.append(next(batches))
                    yield Step(len(made[-1].files))
                yield Step(0, self._written(number, made, files))

    def _written(self, number: int, batches: list[Batch], files: ChunkFiles) -> FinishedChunk:
        unreadable = {
            self.first + file: reason
            for batch in batches
            for file, reason in (_not_finite(batch, self.dtype) | batch.unreadable).items()
        }
        values = np.concatenate([batch.values for batch in batches])
        images = np.concatenate([batch.images for batch in batches])
        return files.write(number, values, unreadable, images if files.header.has_images else None)


def _not_finite(batch: Batch, dtype: str) -> dict[int, str]:
    """Return why some files of a batch have features (B, A, F) that cannot be stored."""
    stored: NDArray[np.floating] = batch.values
    if dtype == "float16":  # the others reach as far as float32
        with np.errstate(over="ignore"):
            stored = stored.astype(dtype)
    bad = np.flatnonzero(~np.isfinite(stored).all(axis=(1, 2)))
    return {
        batch.files[place]: f"features too large for {dtype}: try --dtype float32"
        if np.isfinite(batch.values[place]).all()
        else "features are not finite numbers"
        for place in bad
    }
