"""Where images and labels come from: a folder, a table, or the built-in demo set.

Published data sets (`official/`, one file each) become tables first: `reading`, then `saving`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cache.places.urls import located, suffix_of

if TYPE_CHECKING:
    from pipeline.datasets.manifest import Manifest

_TABLES = (".csv", ".parquet")


def load_manifest(source: str | Path | None) -> Manifest:
    """List the images of `source`.

    Args:
        source: A folder of class folders or a .csv or .parquet table, also at a URL, or None for
            the demo set.

    Raises:
        InputError: the source is missing, of another kind, or holds bad data.
        UnreachableError: the URL cannot be read.
    """
    if source is None:
        from pipeline.datasets.demo import demo_manifest

        return demo_manifest()
    place = located(source)
    if place.is_dir() if isinstance(place, Path) else suffix_of(place) not in _TABLES:
        from pipeline.datasets.folder import folder_manifest

        return folder_manifest(place)
    from pipeline.datasets.table import table_manifest

    return table_manifest(place)
