"""Where images and labels come from: a folder, a table, or the built-in demo set.

Published data sets (`official/`, one file each) become tables first: `reading`, then `saving`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.datasets.manifest import Manifest


def load_manifest(source: Path | None) -> Manifest:
    """List the images of `source`.

    Args:
        source: A folder of class folders, a .csv or .parquet table, or None for the demo set.

    Raises:
        InputError: the source is missing, of another kind, or holds bad data.
    """
    if source is None:
        from pipeline.datasets.demo import demo_manifest

        return demo_manifest()
    if source.is_dir():
        from pipeline.datasets.folder import folder_manifest

        return folder_manifest(source)
    from pipeline.datasets.table import table_manifest

    return table_manifest(source)
