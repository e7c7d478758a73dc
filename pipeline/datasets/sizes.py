"""How many bytes each image file has: part of what a store's features are known by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from cache.places.url_files import files_in
from cache.places.urls import Location, below, folder_of, is_url
from pipeline.datasets.manifest import Manifest
from pipeline.extraction import containers

_LISTED_FROM = 8  # images of one folder; fewer are asked for one by one
_THREADS = 32  # they wait for the network


def file_sizes(manifest: Manifest) -> Sequence[int]:
    """Return the number of bytes of each image, -1 where it is missing.

    Folders at URLs are listed, so there is no request for each image.

    Raises:
        InputError: a container is damaged or of another kind.
        UnreachableError: a URL cannot be read.
    """
    if manifest.sizes is not None:
        return manifest.sizes
    places = [below(manifest.root, path) for path in manifest.paths]
    far = [place for place in places if is_url(place) and containers.MARK not in str(place)]
    known = _sizes_at_urls([str(place) for place in far])
    return [_size(place, known) for place in places]


def _size(place: Location, known: dict[str, int]) -> int:
    size = known.get(place) if isinstance(place, str) else None
    return containers.size_of(place) if size is None else size


def _sizes_at_urls(urls: Iterable[str]) -> dict[str, int]:
    """Return URL -> number of bytes, -1 where there is nothing."""
    urls = list(urls)
    in_folder = Counter(str(folder_of(url)) for url in urls)
    listed = [folder for folder, count in in_folder.items() if count >= _LISTED_FROM]
    alone = [url for url in urls if in_folder[str(folder_of(url))] < _LISTED_FROM]
    sizes = dict.fromkeys(urls, -1)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="sizes") as pool:
        for folder, found in zip(listed, pool.map(files_in, listed), strict=True):
            sizes |= {f"{folder}/{name}": size for name, size in found.items()}
        sizes |= dict(zip(alone, pool.map(containers.size_of, alone), strict=True))
    return sizes
