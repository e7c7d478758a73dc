"""Images in class folders: the folder's name is the label."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cache.errors import InputError
from cache.places.url_files import files_below
from cache.places.urls import Location
from pipeline.datasets.manifest import SPLITS, Manifest, make_manifest

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"})
_ADVICE = "put the images of each class into a folder of its own, or give a .csv or .parquet table"


class _Listing(NamedTuple):
    """The folders directly below a root, all images below it, sorted, and maybe their sizes."""

    tops: list[str]
    ids: list[str]
    sizes: list[int] | None


def folder_manifest(root: Location) -> Manifest:
    """List `root/<class>/**/<image>`, or `root/<split>/<class>/**/<image>`, also at a URL.

    It is the second form if every folder in `root` has the name of a split. Hidden files are
    skipped, links are followed. The id of an image is its path below `root`, with `/`.

    Raises:
        InputError: there are no images, images outside of class folders, or only one class.
        UnreachableError: the URL cannot be listed.
    """
    tops, ids, sizes = _listed_here(root) if isinstance(root, Path) else _listed_at(root)
    has_splits = bool(tops) and all(top in SPLITS for top in tops)
    depth = 2 if has_splits else 1
    if not ids:
        raise InputError(f"{root} holds no images ({', '.join(sorted(SUFFIXES))}): {_ADVICE}")
    parts = [row_id.split("/") for row_id in ids]
    stray = next(
        (row_id for row_id, part in zip(ids, parts, strict=True) if len(part) <= depth), None
    )
    if stray is not None:
        raise InputError(f"{stray} in {root} lies in no class folder: {_ADVICE}")
    return make_manifest(
        ids=ids,
        paths=ids,
        labels=[part[depth - 1] for part in parts],
        splits=[part[0] for part in parts] if has_splits else None,
        root=root.absolute() if isinstance(root, Path) else root,
        sizes=sizes,
    )


def _listed_here(root: Path) -> _Listing:
    return _Listing(_folders(root), sorted(_images(root, prefix="", above=frozenset())), None)


def _listed_at(url: str) -> _Listing:
    """List what is at a URL; the listing tells the sizes, too.

    Raises:
        InputError: there is nothing.
        UnreachableError: it cannot be listed.
    """
    try:
        found = files_below(url)
    except FileNotFoundError:  # no such bucket
        found = {}
    if not found:
        raise InputError(f"there is nothing at {url}: check the name, also that of the bucket")
    seen = {name: size for name, size in found.items() if not _has_hidden_part(name)}
    ids = sorted(name for name in seen if os.path.splitext(name)[1].lower() in SUFFIXES)
    tops = sorted({name.partition("/")[0] for name in seen if "/" in name})
    return _Listing(tops, ids, [seen[row_id] for row_id in ids])


def _has_hidden_part(name: str) -> bool:
    return name.startswith(".") or "/." in name


def _folders(root: Path) -> list[str]:
    with os.scandir(root) as entries:
        return [entry.name for entry in entries if _is_folder(entry) and not _is_hidden(entry)]


def _images(folder: Path, *, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """Yield the paths of all images below `folder`, each with `prefix` in front of it."""
    status = folder.stat()
    inode = (status.st_dev, status.st_ino)
    if inode in above:  # a link to a folder that it lies in
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_hidden(entry):
                continue
            if _is_folder(entry):
                below = f"{prefix}{_checked_name(entry)}/"
                yield from _images(folder / entry.name, prefix=below, above=above | {inode})
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                yield prefix + _checked_name(entry)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself; as an image it is listed as unreadable
        return False


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".")


def _checked_name(entry: os.DirEntry[str]) -> str:
    try:
        entry.name.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the name of {entry.path!r} is not UTF-8: rename it") from error
    return entry.name
