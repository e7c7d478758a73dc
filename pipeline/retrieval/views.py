"""Which views of a new photo stand for it where features are means over views.

The views of a stored image are drawn by the id of its row. A photo of the same content gets that
id, so that it finds itself wherever its file lies; any other one goes by the SHA-256 of its
content, so that its views depend on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cache.places.urls import located
from cache.store import FeatureStore
from pipeline.extraction.pictures.decoding import Reading, UnreadableImageError, read
from pipeline.extraction.pictures.hashes import CONTENT_BYTES, content_hash


def view_ids(store: FeatureStore, paths: Sequence[str], reading: Reading) -> list[str]:
    """Return the ids that the views of some files are drawn by.

    Args:
        store: with the features and, if it has them, the hashes of its images.
        paths: n files; one that cannot be read keeps its path.
        reading: how the store's files were read.

    Raises:
        UnreachableError: a URL cannot be read because of the network.
    """
    hashes = {path: found for path in paths if (found := _hash(path, reading)) is not None}
    known = _ids_of(store, set(hashes.values()))
    return [
        known.get(hashes[path], hashes[path].hex()) if path in hashes else path for path in paths
    ]


def _hash(path: str, reading: Reading) -> bytes | None:
    try:
        return content_hash(read(located(path), reading)).tobytes()
    except UnreadableImageError:  # whoever embeds it says why
        return None


def _ids_of(store: FeatureStore, hashes: set[bytes]) -> dict[bytes, str]:
    """Look up the stored images with these contents; of equal ones the first."""
    images = store.images()
    if images is None or not hashes:
        return {}
    wanted = np.frombuffer(b"".join(sorted(hashes)), np.uint8).reshape(-1, CONTENT_BYTES)
    _, at, rows = np.intersect1d(
        _whole(wanted), _whole(images[:, :CONTENT_BYTES]), return_indices=True
    )
    ids = store.readable_rows()["id"]
    pairs = zip(at.tolist(), rows.tolist(), strict=True)
    return {wanted[place].tobytes(): ids[row].as_py() for place, row in pairs}


def _whole(hashes: NDArray[np.uint8]) -> NDArray[np.void]:
    """See each row (n, 32) as one value."""
    return np.ascontiguousarray(hashes).view(f"V{CONTENT_BYTES}").reshape(-1)
