"""What is searched for: image files from anywhere, embedded as the store was, or rows of the store.

An image goes through the backbone of the store with the same transform, pool, precision and number
format, then through the run's transform and head: one that is in the store finds itself. Where the
features are means over views, the same views are made of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cache.averaged import average
from cache.encoding import decode, dtype_when_read, encode
from cache.errors import InputError
from cache.fingerprint import Fingerprint
from cache.places.urls import Location, below, is_url, located
from pipeline.backbones._backbone import Backbone
from pipeline.datasets.folder import SUFFIXES
from pipeline.extraction.again import IMPORTED, augmentation_of, same_backbone
from pipeline.extraction.embed import embed_files
from pipeline.retrieval.exact import Embeddings
from pipeline.retrieval.space import Space
from pipeline.retrieval.views import view_ids

_OTHER_CODE = "extract again with this version of dml"


@dataclass(frozen=True)
class Query:
    """One image that is searched for.

    Attributes:
        name: as it was given: a path, a URL or an id.
        place: of its file.
        id: of its row, if it was named by that.
    """

    name: str
    place: Location
    id: str | None = None


@dataclass(frozen=True)
class Queries:
    """What is searched for.

    Attributes:
        queries: T of them that can be searched for.
        embeddings: (T, D) float32 of unit norm.
        unreadable: name -> why it cannot be read, of the others.
    """

    queries: tuple[Query, ...]
    embeddings: Embeddings
    unreadable: dict[str, str]


def listed(words: Sequence[str]) -> list[str]:
    """Put all images of a folder, sorted, into the place of its name; other words stay.

    Raises:
        InputError: a folder holds no images.
    """
    found: list[str] = []
    for word in words:
        if is_url(word) or not os.path.isdir(word):
            found.append(word)
            continue
        files = sorted(
            os.path.join(folder, name)
            for folder, _, names in os.walk(word)
            for name in names
            if os.path.splitext(name)[1].lower() in SUFFIXES
            and "/." not in f"/{os.path.relpath(os.path.join(folder, name), word)}"
        )
        if not files:
            raise InputError(f"{word} holds no images ({', '.join(sorted(SUFFIXES))})")
        found += files
    return list(dict.fromkeys(found))


def embed_images(
    space: Space,
    names: Sequence[str],
    *,
    weights: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Queries:
    """Embed image files as the store was embedded.

    Args:
        space: what the gallery is embedded by.
        names: paths, URLs, or pictures in archives (`photos.zip::1.jpg`).
        weights: file of the backbone's weights; None takes the published ones.
        progress: is called with the images done and all images.

    Raises:
        InputError: the features came from another program, or the backbone is another one now.
        WeightsUnavailableError: the published weights are not on this disk and cannot be fetched.
        UnreachableError: a URL cannot be read because of the network.
    """
    if not names:
        return Queries((), np.empty((0, space.embedding_dim), np.float32), {})
    facts = space.store.fingerprint
    backbone = _backbone(space, weights)
    queries = [Query(name, located(name)) for name in names]
    paths = [str(query.place) for query in queries]
    parts = facts.parts_of(space.store.features)
    is_mean = len(parts) > 1
    wanted = parts if is_mean else (parts[0].partition("@")[0],)  # of the plain picture
    columns = [facts.feature_names.index(name) for name in wanted]
    features = np.empty((len(names), space.store.num_features), dtype_when_read(facts.dtype))
    unreadable: dict[int, str] = {}
    batches = embed_files(
        backbone,
        paths,
        [range(len(names))],
        ids=view_ids(space.store, paths, backbone.transform.reading) if is_mean else paths,
        root=Path.cwd(),
        device=space.device,
        precision=facts.precision,
        augmentation=augmentation_of(facts) if is_mean else None,
    )
    with closing(batches):
        for batch in batches:
            stored = (_as_stored(batch.values[:, column], facts) for column in columns)
            average(stored, features[batch.files.start : batch.files.stop])
            unreadable |= batch.unreadable
            progress(batch.files.stop, len(names))
    kept = [at for at in range(len(names)) if at not in unreadable]
    return Queries(
        tuple(queries[at] for at in kept),
        space.embed(features[kept]),
        {names[at]: why for at, why in sorted(unreadable.items())},
    )


def stored_images(space: Space, ids: Sequence[str]) -> Queries:
    """Take images of the store by their ids.

    Raises:
        InputError: the store has no readable image of that id.
    """
    if not ids:
        return Queries((), np.empty((0, space.embedding_dim), np.float32), {})
    table = space.store.readable_rows()
    row_of = {row_id: row for row, row_id in enumerate(table["id"].to_pylist())}
    ids = list(dict.fromkeys(ids))
    if missing := [each for each in ids if each not in row_of]:
        raise InputError(
            f"{space.store.path} has no readable image with the id {missing[0]!r}: an id there is, "
            f"for example, {table['id'][0].as_py()!r}"
        )
    rows = np.array([row_of[each] for each in ids], np.int64)
    ascending, place = np.unique(rows, return_inverse=True)
    embeddings = space.embed(space.store.on_disk().take(ascending))[place]
    root = located(space.store.root)
    paths = table["path"].take(pa.array(rows)).to_pylist()
    queries = [Query(each, below(root, path), each) for each, path in zip(ids, paths, strict=True)]
    return Queries(tuple(queries), embeddings, {})


def _backbone(space: Space, weights: Path | None) -> Backbone:
    """Load the backbone of the store.

    Raises:
        InputError: it cannot be loaded, or would make other features.
    """
    facts, path = space.store.fingerprint, space.store.path
    if facts.backbone.startswith(IMPORTED):
        raise InputError(
            f"{path} holds features of another program ({facts.backbone}), which alone can embed "
            "images: search for images of the store with --id ID"
        )
    return same_backbone(facts, path, weights=weights, otherwise=_OTHER_CODE)


def _as_stored(features: NDArray[np.float32], facts: Fingerprint) -> NDArray[np.floating]:
    """Round features (n, F) as the store does."""
    rounded = np.empty(features.shape, dtype_when_read(facts.dtype))
    decode(encode(features, facts.dtype), facts.dtype, rounded)
    return rounded
