"""Images in class folders: the folder's name is the label."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cache.errors import InputError
from pipeline.datasets.manifest import SPLITS, Manifest, make_manifest

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"})
_ADVICE = "put the images of each class into a folder of its own, or give a .csv or .parquet table"


def folder_manifest(root: Path) -> Manifest:
    """List `root/<class>/**/<image>`, or `root/<split>/<class>/**/<image>`.

    It is the second form if every folder in `root` has the name of a split. Hidden files are
    skipped, links are followed. The id of an image is its path below `root`, with `/`.

    Raises:
        InputError: there are no images, images outside of class folders, or only one class.
    """
    root = root.absolute()
    tops = _folders(root)
    has_splits = bool(tops) and all(top in SPLITS for top in tops)
    depth = 2 if has_splits else 1
    ids = sorted(_images(root, prefix="", above=frozenset()))
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
        root=root,
    )


def _folders(root: Path) -> list[str]:
    with os.scandir(root) as entries:
        return [entry.name for entry in entries if entry.is_dir() and not _is_hidden(entry)]


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
            if entry.is_dir():
                below = f"{prefix}{_checked_name(entry)}/"
                yield from _images(folder / entry.name, prefix=below, above=above | {inode})
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                yield prefix + _checked_name(entry)


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".")


def _checked_name(entry: os.DirEntry[str]) -> str:
    try:
        entry.name.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the name of {entry.path!r} is not UTF-8: rename it") from error
    return entry.name
