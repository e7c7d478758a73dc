"""Groups of duplicates among pictures, from the digests of their files, hashes and features.

Arrays in, groups out: nothing here knows of stores, labels or splits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from cache.errors import InputError
from pipeline.measures.components import Components, Pairs
from pipeline.measures.copies import copies_in
from pipeline.measures.near_features import (
    EXACT_WORK,
    Features,
    closest_in_group,
    exact_pairs,
    is_quick,
    pair_cosines,
)
from pipeline.measures.near_hashes import near_hashes, says_something

if TYPE_CHECKING:
    from pipeline.measures.approximate import Recall

# By the kind that proves most: equal bytes, equal features, near hashes, near features.
EVIDENCE = ("same file", "equal features", "alike pictures", "alike features")
# Chosen by eye on 5,421 photos taken in shops, features of efficientnet_lite0. Of 31 pairs with
# cosines from 0.97 on, 24 show one pile within moments, 7 may, none surely does not. From 0.96 on
# about three of four do, from 0.95 on half; of 27 pairs across train and test, all below 0.96, none
# does. The hashes of 10 pairs differ in 4 bits at most: each shows one thing, taken twice.
# Of 200 photos changed by hand, hash or features find again: all brighter, grey or in worse JPEG,
# 99 % at half the size, 68 % with 5 % of width and height cut off, 58 % of the mirrored ones.
THRESHOLD, DISTANCE = 0.97, 4
# Pictures of near hashes and unlike features meet by chance: among photos of different labels
# whose hashes differ in 10 bits to 16 most cosines were below 0.45. Grey copies come down to 0.57.
LEAST_COSINE = 0.5


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that are linked by some evidence, directly or through others.

    Attributes:
        rows: (n,) int64, ascending, two and more.
        evidence: for each row the kinds of links that it has, of `EVIDENCE`, in their order.
        closest: (n,) int64, for each row the other one of the group whose features are closest.
        cosines: (n,) float32, how close those are.
        smallest: smallest cosine of two rows of the group. Below the threshold, they were linked
            through others, or by their files or hashes.
    """

    rows: NDArray[np.int64]
    evidence: tuple[tuple[str, ...], ...]
    closest: NDArray[np.int64]
    cosines: NDArray[np.float32]
    smallest: float


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """The groups, and how they were looked for.

    Attributes:
        groups: by their lowest rows.
        flat: pictures whose hash says nothing, being nearly all zeros or ones; 0 without hashes.
        recall: how good the approximate search was; None if the search was exact.
    """

    groups: list[Group]
    flat: int
    recall: Recall | None


def find_duplicates(
    values: Features,
    *,
    files: NDArray[np.uint8] | None = None,
    hashes: NDArray[np.uint8] | None = None,
    threshold: float = THRESHOLD,
    distance: int = DISTANCE,
    exact_work: int = EXACT_WORK,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Duplicates:
    """Find rows that show the same picture, or nearly.

    Memory is linear in the rows: the values, a float32 copy of them (exact search) or a float16
    one (FAISS), and tiles. Time is N N F / 2 multiply-adds for the exact search, about
    4 N sqrt(N) F for FAISS; for hashes 70 sorts of N numbers.

    Args:
        values: (N, F) features of any float type; rows of zeros resemble nothing.
        files: (N, 32) uint8, SHA-256 of each file.
        hashes: (N, 8) uint8, difference hash of each picture.
        threshold: cosine from which features are alike, in (0, 1].
        distance: bits in which hashes of alike pictures differ at most, 0 to 4; their features
            need a cosine of 0.5 besides.
        exact_work: multiply-adds up to which all pairs are compared; beyond, FAISS searches.
        progress: is called with the rows compared and all of them.

    Raises:
        InputError: the threshold or the distance is out of range.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"the threshold is {threshold:g}, expected a cosine above 0 and up to 1")
    num_rows = len(values)
    links = {name: Components(num_rows) for name in EVIDENCE}
    if files is not None:
        links["same file"].add(_equal_rows(files))
    copies = _equal_features(values)
    links["equal features"].add(copies)
    flat = 0
    if hashes is not None:
        flat = int((~says_something(hashes)).sum())
        for pairs in near_hashes(hashes, distance):
            new = links["alike pictures"].new(pairs)
            links["alike pictures"].add(new[pair_cosines(values, new) >= LEAST_COSINE])
    recall = _add_alike(links["alike features"], values, copies, threshold, exact_work, progress)
    return Duplicates(groups=_groups(values, links), flat=flat, recall=recall)


def evidence_between(
    values: Features,
    files: NDArray[np.uint8] | None,
    hashes: NDArray[np.uint8] | None,
    *,
    threshold: float,
    distance: int = DISTANCE,
) -> tuple[str, ...]:
    """Tell what links two rows directly: by the rules of `find_duplicates`, for (2, ...) arrays."""
    cosine = float(pair_cosines(values, np.array([[0, 1]]))[0])
    bits = 64
    if hashes is not None and says_something(hashes).all():
        bits = int(np.bitwise_count(hashes[0] ^ hashes[1]).sum())
    holds = (
        files is not None and bool((files[0] == files[1]).all()),
        bool((values[0] == values[1]).all() and values[0].any()),
        bits <= distance and cosine >= LEAST_COSINE,
        cosine >= threshold,
    )
    return tuple(name for name, is_so in zip(EVIDENCE, holds, strict=True) if is_so)


def _add_alike(
    alike: Components,
    values: Features,
    copies: Pairs,
    threshold: float,
    exact_work: int,
    progress: Callable[[int, int], None],
) -> Recall | None:
    """Link rows of near features; of exact copies one is compared, or many would cost squares."""
    alike.add(copies)
    is_copy = np.zeros(len(values), dtype=bool)
    is_copy[copies[:, 1]] = True
    rows = np.flatnonzero(~is_copy)
    different = values[rows] if len(rows) < len(values) else values
    if is_quick(*different.shape, exact_work=exact_work):
        for pairs in exact_pairs(different, threshold, progress=progress):
            alike.add(rows[pairs])
        return None
    from pipeline.measures.approximate import ApproximateSearch  # FAISS only where it is needed

    search = ApproximateSearch(different)
    for pairs in search.pairs(threshold, progress=progress):
        alike.add(rows[pairs])
    return search.recall(threshold)


def _equal_rows(bytes_of: NDArray[np.uint8]) -> Pairs:
    """Pair each row (N, n) that has an earlier copy with the first."""
    whole = np.ascontiguousarray(bytes_of).view(f"V{bytes_of.shape[1]}").reshape(-1)
    _, first, group = np.unique(whole, return_index=True, return_inverse=True)
    rows, firsts = np.arange(len(whole)), first[group]
    is_copy = rows != firsts
    return np.column_stack([firsts[is_copy], rows[is_copy]])


def _equal_features(values: Features) -> Pairs:
    """Pair each row of features that has an earlier copy with the first; zeros have none."""
    copies = copies_in(torch.from_numpy(values))
    pairs: Pairs = torch.stack([copies.firsts, copies.rows], dim=1).numpy()
    is_something: NDArray[np.bool_] = values[copies.rows.numpy()].any(axis=1)
    return pairs[is_something]


def _groups(values: Features, links: dict[str, Components]) -> list[Group]:
    """Join the components of all kinds of evidence and measure them."""
    together = Components(len(values))
    for each in links.values():
        together.add(each.links())
    is_linked = {name: each.is_linked() for name, each in links.items()}
    groups = []
    for rows in together.groups():
        closest, cosines, smallest = closest_in_group(values, rows)
        evidence = tuple(
            tuple(name for name in EVIDENCE if is_linked[name][row]) for row in rows.tolist()
        )
        groups.append(
            Group(rows=rows, evidence=evidence, closest=closest, cosines=cosines, smallest=smallest)
        )
    return groups
