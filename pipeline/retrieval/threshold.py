"""From which cosine on an image counts as known, learnt from images whose class is in the gallery.

Images with known labels are searched for as if they were new: those of the split "val", which
trained nothing, in the rest of the gallery; without them the training rows that were held out for
validation; without those the rows that trained, each without itself; for the untrained features,
all rows. The threshold that lets a share s of them pass is the (1 - s) quantile of the cosines of
their nearest rows.

Rows that trained lie nearer to each other than new images do, because the head was fitted to them:
a threshold learnt from them refuses more than it says. On the Grocery photos, with a share of 95 %,
44 % of the test images reach it, and 95 % that of the split val.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.retrieval.exact import NOBODY, Embeddings, ExactSearch, Rows
from pipeline.retrieval.gallery import Gallery
from pipeline.training.protocol import split
from pipeline.training.validation import hold_out

_SAMPLED = 1000
_SEED = 0
_STEPS = 100  # of the quantiles that are kept


class Calibration(NamedTuple):
    """How near known images are.

    Attributes:
        rows: which were searched for: "val", "held out", "train" or "gallery".
        num_images: how many.
        quantiles: (101,) cosine of the nearest row that 0 %, 1 %, ..., 100 % of them do not exceed.
    """

    rows: str
    num_images: int
    quantiles: tuple[float, ...]

    @classmethod
    def from_json(cls, facts: Mapping[str, Any] | None) -> Calibration | None:
        """Read what `_asdict` gave."""
        if facts is None:
            return None
        return cls(facts["rows"], facts["num_images"], tuple(facts["quantiles"]))

    def threshold(self, share: float) -> float:
        """Choose the threshold that at least a share in (0, 1] of them passes."""
        return self.quantiles[int(_STEPS * (1 - share) + 1e-9)]


class Calibrating:
    """The search for known images, while the gallery passes by."""

    def __init__(self, gallery: Gallery) -> None:
        """Choose at most 1,000 images whose class is in the gallery.

        Args:
            gallery: what they are searched in.
        """
        labels = gallery.labels.names.dictionary_encode().indices.to_numpy()
        self._rows, asking, is_hidden = _askers(gallery)
        asking = asking[~gallery.labels.is_dropped[asking]]
        self._is_seen = ~is_hidden[gallery.rows]  # (N,)
        seen = gallery.rows[self._is_seen]
        others = np.bincount(labels[seen], minlength=labels.max() + 1)[labels[asking]]
        asking = asking[others - np.isin(asking, seen) > 0]
        generator = np.random.default_rng(_SEED)
        chosen = generator.choice(len(asking), min(_SAMPLED, len(asking)), replace=False)
        sample = np.sort(asking[chosen])
        features = gallery.space.store.on_disk().take(sample)
        place = np.searchsorted(gallery.rows, sample)
        is_own = gallery.rows[np.minimum(place, len(gallery.rows) - 1)] == sample
        own_rows = np.where(is_own, place, NOBODY)
        self._search = ExactSearch(gallery.space.embed(features), 1, own_rows=own_rows)

    def add(self, rows: Rows, embeddings: Embeddings) -> None:
        """Look through a block of the gallery, see `Gallery.blocks`."""
        is_seen = self._is_seen[rows]
        self._search.add(rows[is_seen], embeddings[is_seen])

    def result(self) -> Calibration | None:
        """Return what was learnt; None where no class has two rows."""
        cosines = self._search.result().cosines[:, 0]
        if not len(cosines):
            return None
        quantiles = np.quantile(cosines, np.arange(_STEPS + 1) / _STEPS, method="lower")
        return Calibration(self._rows, len(cosines), tuple(quantiles.tolist()))


def _askers(gallery: Gallery) -> tuple[str, Rows, NDArray[np.bool_]]:
    """Choose what is searched for.

    Returns:
        its name, its rows of the store (n,), and which of the store's rows it does not search.
    """
    run, table = gallery.space.run, gallery.space.store.readable_rows()
    is_hidden = np.zeros(table.num_rows, dtype=bool)
    if run is None:
        return "gallery", gallery.rows, is_hidden
    roles = split(table, run.record["protocol"])
    if roles.val is not None and len(roles.val):
        is_hidden[roles.val] = True
        return "val", roles.val, is_hidden
    settings = run.settings
    # Corrected labels may have divided the rows in another way.
    if settings.validation in ("rows", "classes") and settings.labels is None:
        held = hold_out(roles, settings.validation, folds=settings.folds, fold=settings.fold)
        is_hidden[held.query] = held.gallery is not None  # else they search among each other
        return "held out", held.query, is_hidden
    return "train", roles.train, is_hidden
