"""Label lists with paths of another machine: finding the images below the root."""

from __future__ import annotations

from collections.abc import Sequence

from cache.errors import InputError
from pipeline.datasets.official._files import is_litter, read_labelled
from pipeline.datasets.official._listing import Row
from pipeline.extraction.containers import is_there, join

_TRIED = 20


def list_rows(base: str, file: str, split: str) -> list[Row]:
    """Read a list of paths and labels; the images lie below the base.

    The id is the path as the list has it. As many leading folders of the paths are dropped as it
    takes to find one of the first 20 images.

    Raises:
        InputError: none of the first 20 is found, or the list is unreadable.
    """
    pairs = [pair for pair in read_labelled(file, has_commas=True) if not is_litter(pair[0])]
    drop = _folders_to_drop(base, [path for path, _ in pairs[:_TRIED]], file)
    return [Row(path.lstrip("/"), _below(base, path, drop), label, split) for path, label in pairs]


def _folders_to_drop(base: str, paths: Sequence[str], file: str) -> int:
    for path in paths:
        for drop in range(path.lstrip("/").count("/") + 1):
            if is_there(_below(base, path, drop)):
                return drop
    example = f", for example {_below(base, paths[0], 0)}" if paths else ""
    raise InputError(
        f"none of the first {len(paths)} images of {file} lies below {base}{example}: put the "
        "images there, leading folders do not matter"
    )


def _below(base: str, path: str, drop: int) -> str:
    return join(base, path.lstrip("/").split("/", drop)[drop])
