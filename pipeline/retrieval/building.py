"""Builds an index of a gallery: the embeddings pass by once, block by block."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np

from pipeline.retrieval import kinds
from pipeline.retrieval.exact import NOBODY, Embeddings, ExactSearch, Nearest, Rows
from pipeline.retrieval.gallery import Gallery
from pipeline.retrieval.index import FORMAT, METRIC, Index, refuse_unusable, save_index
from pipeline.retrieval.threshold import Calibrating

NEIGHBOURS = 10  # of recall@10
_SAMPLED = 1000
_SEED = 0
_ENOUGH, _GAIN = 0.95, 0.005  # where looking harder stops, and the gain that is worth it


class Measured(NamedTuple):
    """What an approximate search finds of what exact search finds.

    Attributes:
        effort: how hard it looks, see `kinds.efforts`.
        recall: share of the ten nearest rows that it returns; None where there is one row only.
        per_second: queries, all of them searched at once; a rough figure.
        sample: number of queries, which are rows of the index that do not find themselves.
    """

    effort: int
    recall: float | None
    per_second: float
    sample: int


def build_index(
    gallery: Gallery,
    out: Path,
    *,
    kind: kinds.Kind | None = None,
    is_forced: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Index:
    """Embed a gallery once, index it, measure the recall against exact search, and write it.

    An index looks as hard as it takes to reach a recall@10 of 0.95, if it can.

    Args:
        gallery: what is indexed.
        out: folder of the index.
        kind: None chooses by size.
        is_forced: whether an index at this place is replaced.
        progress: is called with the rows entered and all rows.

    Raises:
        InputError: the place is taken, or there are too few rows for the kind.
        StoreCorruptError: a chunk of the store is missing or damaged; nothing is written.
        DiskFullError: there is no room.
    """
    refuse_unusable(out, is_forced=is_forced)
    begun = time.perf_counter()
    count, dim = len(gallery.rows), gallery.space.embedding_dim
    kind = kind or kinds.kind_for(count)
    kinds.refuse_too_few(kind, count)
    trained_on = _sample(count, kinds.rows_to_train(kind, count))
    sample = gallery.take(trained_on) if len(trained_on) else np.empty((0, dim), np.float32)
    filling = kinds.Filling(kind, count, dim, sample)
    del sample
    own_rows = _sample(count, _SAMPLED)
    queries = gallery.take(own_rows)
    exact, known = ExactSearch(queries, NEIGHBOURS, own_rows=own_rows), Calibrating(gallery)
    for rows, embeddings in gallery.blocks(progress):
        filling.add(embeddings)
        exact.add(rows, embeddings)
        known.add(rows, embeddings)
    vectors = filling.finished()
    measured = measure(vectors, kind, queries, own_rows, exact.result())
    calibration = known.result()
    facts = _facts(gallery, kind, dim) | {
        "effort": measured.effort,
        "recall@10": measured.recall,
        "queries_per_second": round(measured.per_second),
        "sample": measured.sample,
        "calibration": None if calibration is None else calibration._asdict(),
        "seconds": round(time.perf_counter() - begun, 3),
    }
    return save_index(out, facts, gallery.items, vectors, is_forced=is_forced)


def measure(
    vectors: Any, kind: kinds.Kind, queries: Embeddings, own_rows: Rows, exact: Nearest
) -> Measured:
    """Look harder until enough is found; returns how hard, and what is found then."""
    before = -1.0
    for effort in kinds.efforts(kind, vectors.ntotal):
        begun = time.perf_counter()
        found = kinds.nearest(vectors, kind, queries, NEIGHBOURS + 1, effort=effort)
        per_second = len(queries) / (time.perf_counter() - begun)
        recall = recall_of(kinds.without(found, own_rows), exact)
        if recall is None or recall >= _ENOUGH or recall - before < _GAIN:
            break
        before = recall
    return Measured(effort, recall, per_second, len(queries))


def recall_of(found: Nearest, exact: Nearest) -> float | None:
    """Take the share of the truly nearest rows (T, K) that are among those found (T, K)."""
    is_there = exact.rows != NOBODY
    if not is_there.any():
        return None
    is_found = (exact.rows[:, :, None] == found.rows[:, None, :]).any(axis=2)
    return float(is_found[is_there].mean())


def _facts(gallery: Gallery, kind: kinds.Kind, dim: int) -> dict[str, Any]:
    space, store = gallery.space, gallery.space.store
    run = space.run
    return {
        "format": FORMAT,
        "dml": version("dml"),
        "faiss": faiss.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "space": space.name,
        "run": None if run is None else str(run.path.absolute()),
        "embeddings": space.digest,
        "store": {"path": str(store.path), "fingerprint": store.fingerprint.digest()},
        "features": store.features,
        "splits": None if gallery.splits is None else list(gallery.splits),
        "root": str(store.root),
        "labels": gallery.labels.source,
        "kind": kind,
        "metric": METRIC,
        "rows": len(gallery.rows),
        "embedding_dim": dim,
        "parameters": kinds.parameters_of(kind, len(gallery.rows), dim),
        "seed": _SEED,
    }


def _sample(count: int, size: int) -> Rows:
    """Choose rows, ascending, each once."""
    generator = np.random.default_rng(_SEED)
    chosen = generator.choice(count, min(size, count), replace=False)
    return np.sort(chosen).astype(np.int64)
