"""Duplicates among the pictures of a store: between splits, with different labels, the rest."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cache.errors import InputError
from cache.store import Features, FeatureStore
from pipeline.measures.duplicates import (
    DISTANCE,
    EVIDENCE,
    THRESHOLD,
    Group,
    evidence_between,
    find_duplicates,
)
from pipeline.measures.near_features import Features as Values
from pipeline.measures.near_features import closest_in_group

if TYPE_CHECKING:
    from pipeline.measures.approximate import Recall

Images = NDArray[np.uint8]  # (n, 40)
Kind = Literal["leak", "labels", "rest"]
KINDS: tuple[Kind, ...] = ("leak", "labels", "rest")
_SHA256_BYTES = 32  # of the 40 bytes a picture; the others are its difference hash


class Member(NamedTuple):
    """One picture of a group of duplicates.

    Attributes:
        id: its id.
        path: its file.
        label: as given.
        split: "" where the store has none.
        evidence: what links it, of `EVIDENCE`.
        closest: id of the picture of the group whose features are closest.
        cosine: how close those are.
    """

    id: str
    path: str
    label: str
    split: str
    evidence: tuple[str, ...]
    closest: str
    cosine: float


@dataclass(frozen=True, kw_only=True)
class DuplicateGroup:
    """Pictures that are the same, or nearly.

    Attributes:
        kind: "leak" if they are in different splits, else "labels" if their labels differ, so that
            one of them is wrong, else "rest".
        members: two and more, in manifest order.
        splits: split -> pictures in it; empty where the store has none.
        labels: label -> pictures with it.
        evidence: what links any of them, of `EVIDENCE`.
        across: ids of the closest two pictures of different splits (a leak) or labels, or of the
            closest two.
        link: what links these two directly, of `EVIDENCE`; empty if others do.
        cosine: of their features.
        smallest: smallest cosine of two of the pictures.
        is_chain: whether that is below the threshold in a group of three and more: then not all
            are near each other, but linked through others.
    """

    kind: Kind
    members: tuple[Member, ...]
    splits: dict[str, int]
    labels: dict[str, int]
    evidence: tuple[str, ...]
    across: tuple[str, str]
    link: tuple[str, ...]
    cosine: float
    smallest: float
    is_chain: bool


@dataclass(frozen=True, kw_only=True)
class DuplicateReport:
    """All groups of duplicates of a store.

    Attributes:
        store: path of the store.
        rows: number of pictures compared.
        groups: leaks, then different labels, then the rest; in each the surest evidence first.
        threshold: cosine from which features were taken for alike.
        distance: bits in which hashes of alike pictures differ at most.
        has_images: whether the store has digests and hashes of the image files.
        has_splits: whether it has splits; without them there are no leaks to find.
        flat: pictures whose hash says nothing.
        recall: how good the search was, where it was not exact.
        seconds: duration.
    """

    store: str
    rows: int
    groups: tuple[DuplicateGroup, ...]
    threshold: float
    distance: int
    has_images: bool
    has_splits: bool
    flat: int
    recall: Recall | None
    seconds: float

    def of(self, kind: Kind) -> list[DuplicateGroup]:
        """Return the groups of one kind."""
        return [group for group in self.groups if group.kind == kind]


def list_duplicates(
    store: FeatureStore,
    *,
    threshold: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DuplicateReport:
    """Find the duplicates of a store and say what is wrong with each group.

    Memory: the features as they are stored and a copy; time: see `find_duplicates`.

    Args:
        store: a complete store.
        threshold: cosine from which features are alike, in (0, 1]; None takes the default, chosen
            for efficientnet_lite0.
        progress: is called with the rows compared and all of them.

    Raises:
        InputError: the threshold is no such cosine.
        StoreIncompleteError: the extraction has not finished.
        StoreCorruptError: the store is damaged.
    """
    started = time.perf_counter()
    chosen = THRESHOLD if threshold is None else threshold
    check_threshold(chosen)
    features, images = store.read(), store.images()
    files, hashes = _parts(images)
    found = find_duplicates(
        features.values, files=files, hashes=hashes, threshold=chosen, progress=progress
    )
    groups = [_described(group, features, images, chosen) for group in found.groups]
    return DuplicateReport(
        store=str(store.path),
        rows=len(features.values),
        groups=tuple(sorted(groups, key=_rank)),
        threshold=chosen,
        distance=DISTANCE,
        has_images=images is not None,
        has_splits="split" in features.rows.column_names,
        flat=found.flat,
        recall=found.recall,
        seconds=time.perf_counter() - started,
    )


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that is no cosine from which features could be alike.

    Raises:
        InputError: it is not above 0 and at most 1.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"--threshold is {threshold:g}, expected a cosine above 0 and up to 1")


def _parts(images: Images | None) -> tuple[Images, Images] | tuple[None, None]:
    """Divide (n, 40) into digests of files (n, 32) and difference hashes (n, 8)."""
    if images is None:
        return None, None
    return images[:, :_SHA256_BYTES], images[:, _SHA256_BYTES:]


def _described(
    group: Group, features: Features, images: Images | None, threshold: float
) -> DuplicateGroup:
    """Add what the manifest says about a group's pictures."""
    table = features.rows.take(pa.array(group.rows))
    names = {name: table[name].to_pylist() for name in ("id", "path", "label")}
    splits = table["split"].to_pylist() if "split" in table.column_names else []
    id_of = dict(zip(group.rows.tolist(), names["id"], strict=True))
    members = tuple(
        Member(
            id=names["id"][at],
            path=names["path"][at],
            label=names["label"][at],
            split=splits[at] if splits else "",
            evidence=group.evidence[at],
            closest=id_of[int(group.closest[at])],
            cosine=float(group.cosines[at]),
        )
        for at in range(len(group.rows))
    )
    kind: Kind = "leak" if len(set(splits)) > 1 else "rest"
    if kind == "rest" and len(set(names["label"])) > 1:
        kind = "labels"
    marks = {"leak": splits, "labels": names["label"], "rest": None}[kind]
    left, right, cosine = _closest(group, features.values, marks)
    pair = [left, right]
    looks = _parts(None if images is None else images[pair])
    kinds = {each for evidence in group.evidence for each in evidence}
    return DuplicateGroup(
        kind=kind,
        members=members,
        splits=dict(Counter(splits)),
        labels=dict(Counter(names["label"])),
        evidence=tuple(name for name in EVIDENCE if name in kinds),
        across=(id_of[left], id_of[right]),
        link=evidence_between(features.values[pair], *looks, threshold=threshold),
        cosine=cosine,
        smallest=group.smallest,
        is_chain=len(members) > 2 and group.smallest < threshold,
    )


def _closest(group: Group, values: Values, marks: list[str] | None) -> tuple[int, int, float]:
    """Return the closest two rows of a group, of different marks where there are some."""
    closest, cosines = group.closest, group.cosines
    if marks is not None:
        numbers: NDArray[np.int64] = np.unique(marks, return_inverse=True)[1]
        closest, cosines, _ = closest_in_group(values, group.rows, numbers)
    at = int(cosines.argmax())
    left, right = sorted((int(group.rows[at]), int(closest[at])))
    return left, right, float(cosines[at])


def _rank(group: DuplicateGroup) -> tuple[int, bool, int, float]:
    """Order groups: by kind, in leaks those with train first, then the surest and closest."""
    is_elsewhere = group.kind == "leak" and "train" not in group.splits
    sureness = EVIDENCE.index(group.link[0]) if group.link else len(EVIDENCE)
    return KINDS.index(group.kind), is_elsewhere, sureness, -group.cosine
