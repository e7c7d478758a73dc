"""The labels that a search shows: those that the run was trained with, people's corrections too."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cache.errors import InputError
from pipeline.labels.corrected import rows_of
from pipeline.labels.corrected_file import digest_of
from pipeline.retrieval.space import Space


class ShownLabels(NamedTuple):
    """Labels of the M readable rows of a store.

    Attributes:
        names: (M,) strings.
        is_dropped: (M,) whether people decided to leave the image out.
        source: the file of corrected labels; None where they are the store's.
    """

    names: pa.Array
    is_dropped: NDArray[np.bool_]
    source: str | None


def shown_labels(space: Space) -> ShownLabels:
    """Take the store's labels, or the corrected ones if the run was trained with such.

    Noise that was made for a training is not shown.

    Raises:
        InputError: the run's corrected labels are not there any more, or have changed.
    """
    table = space.store.readable_rows()
    if space.run is None or space.run.settings.labels is None:
        names = table["label"].combine_chunks()
        return ShownLabels(names, np.zeros(table.num_rows, dtype=bool), None)
    facts = space.run.record["labels"]
    path = next(filter(Path.is_file, map(Path, (facts.get("file", ""), facts["path"]))), None)
    if path is None or digest_of(path) != facts["sha256"]:
        fault = "are not there any more" if path is None else "have changed since then"
        raise InputError(
            f"{space.run.path} was trained with the corrected labels {facts['path']}, which "
            f"{fault}: put that file back, or train again"
        )
    overlay, at = rows_of(path, table, space.store.fingerprint.rows_digest)
    names = pa.array([overlay.labels[place] for place in at], pa.string())
    is_dropped = np.array([overlay.decisions[place] == "drop" for place in at], dtype=bool)
    return ShownLabels(names, is_dropped, str(path))
