"""Searches the images of a run or of an index for those that look like others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from cache.errors import InputError
from pipeline.retrieval.answers import Answer, answers
from pipeline.retrieval.exact import Embeddings, ExactSearch, Nearest
from pipeline.retrieval.gallery import Gallery, gallery_of
from pipeline.retrieval.index import Index
from pipeline.retrieval.queries import Queries, embed_images, stored_images
from pipeline.retrieval.space import Space
from pipeline.retrieval.threshold import Calibrating, Calibration

_NAMED = 3  # unreadable images that an error names


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """From which cosine on an image counts as known.

    Attributes:
        cosine: the threshold.
        share: of known images that were to pass it; None if the cosine was given.
        calibration: what it was learnt from; None if the cosine was given.
    """

    cosine: float
    share: float | None = None
    calibration: Calibration | None = None


@dataclass(frozen=True, kw_only=True)
class SearchReport:
    """What was found.

    Attributes:
        space: name of the run, or "untrained".
        store: its path or URL.
        index: folder of the index; None if all rows were compared.
        kind: of the index; "exact" without one.
        recall: recall@10 of the index; None without one.
        rows: number of rows that were searched.
        labels: file of the corrected labels that are shown; None where they are the store's.
        answers: one for each readable image, in order.
        unreadable: name -> why, of the others.
        threshold: None if every image counts as known.
        seconds: duration.
    """

    space: str
    store: str
    index: Path | None
    kind: str
    recall: float | None
    rows: int
    labels: str | None
    answers: tuple[Answer, ...]
    unreadable: dict[str, str]
    threshold: Threshold | None
    seconds: float


class _Found(NamedTuple):
    """The nearest rows of `items`, whose labels these have, and how near known images are."""

    nearest: Nearest
    items: pa.Table
    labels: str | None
    calibration: Calibration | None


def search(
    space: Space,
    images: Sequence[str] = (),
    *,
    ids: Sequence[str] = (),
    index: Index | None = None,
    splits: tuple[str, ...] | None = None,
    top: int = 10,
    threshold: float | None = None,
    known_share: float | None = None,
    exclude_self: bool = False,
    weights: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SearchReport:
    """Find the nearest images for each query.

    Args:
        space: of a run, or of the untrained features.
        images: files, URLs or pictures in archives.
        ids: images of the store, searched for by their stored features.
        index: what is searched; None compares with all rows of the store, exactly.
        splits: without an index, the splits that are searched; None is all rows.
        top: number of images to find for each query, at least 1.
        threshold: the least cosine of a match; None lets all match.
        known_share: instead of it, the share of known images in (0, 1] that is to pass.
        exclude_self: whether a query does not find its own file.
        weights: file of the backbone's weights; None takes the published ones.
        progress: is called with the images embedded, and how many there are.

    Raises:
        InputError: there is nothing to search for, no image can be read, the index is of another
            run or store, or nothing tells the threshold.
        StoreIncompleteError: the extraction has not finished.
    """
    begun = time.perf_counter()
    if index is not None:
        index.require(space)
    gallery = None if index else gallery_of(space, splits)
    asked = _asked(space, images, ids, weights, progress)
    depth = top + exclude_self
    if index is not None:
        near, labels = index.search(asked.embeddings, depth), index.facts.get("labels")
        found = _Found(near, index.items, labels, index.calibration)
    else:
        assert gallery is not None
        found = _exactly(gallery, asked.embeddings, depth, is_calibrated=known_share is not None)
    limit = _threshold(threshold, known_share, found.calibration)
    told = answers(
        asked.queries,
        found.nearest,
        found.items,
        str(space.store.root),
        top=top,
        threshold=None if limit is None else limit.cosine,
        exclude_self=exclude_self,
    )
    return SearchReport(
        space=space.name,
        store=str(space.store.path),
        index=index.path if index else None,
        kind=index.facts["kind"] if index else "exact",
        recall=index.facts["recall@10"] if index else None,
        rows=found.items.num_rows,
        labels=found.labels,
        answers=told,
        unreadable=asked.unreadable,
        threshold=limit,
        seconds=round(time.perf_counter() - begun, 3),
    )


def _asked(
    space: Space,
    images: Sequence[str],
    ids: Sequence[str],
    weights: Path | None,
    progress: Callable[[int, int], None],
) -> Queries:
    """Embed what is searched for: images of the store first."""
    if not images and not ids:
        raise InputError("nothing to search for: name image files, or images of the store by --id")
    stored = stored_images(space, ids)  # refused before the backbone is loaded
    read = embed_images(space, images, weights=weights, progress=progress)
    queries = stored.queries + read.queries
    if not queries:
        some = [f"{name}: {why}" for name, why in list(read.unreadable.items())[:_NAMED]]
        raise InputError(
            f"none of the {len(read.unreadable):,} images can be read ({'; '.join(some)}): check "
            "the names"
        )
    embeddings = np.concatenate([stored.embeddings, read.embeddings])
    return Queries(queries, embeddings, read.unreadable)


def _exactly(gallery: Gallery, queries: Embeddings, depth: int, *, is_calibrated: bool) -> _Found:
    """Compare with all rows; what is compared is dropped block by block."""
    nearest = ExactSearch(queries, depth)
    known = Calibrating(gallery) if is_calibrated else None
    for rows, embeddings in gallery.blocks():
        nearest.add(rows, embeddings)
        if known is not None:
            known.add(rows, embeddings)
    learnt = known.result() if known else None
    return _Found(nearest.result(), gallery.items, gallery.labels.source, learnt)


def _threshold(
    cosine: float | None, share: float | None, calibration: Calibration | None
) -> Threshold | None:
    """Settle the threshold.

    Raises:
        InputError: it is to be learnt, and no class has two images.
    """
    if share is None:
        return None if cosine is None else Threshold(cosine=cosine)
    if calibration is None:
        raise InputError(
            "--threshold auto learns from images whose class has another image in the gallery, and "
            "there is none: give a cosine, for example --threshold 0.7"
        )
    learnt = calibration.threshold(share)
    return Threshold(cosine=learnt, share=share, calibration=calibration)
