"""Labels from a file: an overlay of `dml noise`, a published list, or human labels.

Overlays belong to one manifest and are refused for another. Lists by path or id are joined by these
and never by their order; arrays (.npy, .pt) go by the order of the training rows and have to be as
many. A training row without a label is refused, an entry without a row left aside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from cache.errors import InputError
from pipeline.noise._joining import Join, entries_of_rows
from pipeline.noise._lists import LabelList, read_list
from pipeline.noise._numbering import class_names
from pipeline.noise._overlay import CORRECTED, Overlay, has_key, is_overlay, read_overlay
from pipeline.noise._subject import Corrupted, Labels, Subject


def corrupt(
    subject: Subject,
    generator: np.random.Generator,
    *,
    path: str,
    key: str | None = None,
    numbering: Literal["auto", "names", "overlap", "zero", "one"] = "auto",
    join: Literal["suffix", "name"] = "suffix",
    cleaned: str | None = None,
) -> Corrupted:
    """Take the labels of a file; classes that are new in it come last, those without rows go.

    Args:
        subject: N rows with ids and paths.
        generator: not used.
        path: the file.
        key: which array of a .npy or .pt file, for example "worse_label".
        numbering: what the labels are: class "names", or numbers from "zero" or from "one" in the
            order of the training classes' names, or matched to classes by "overlap" of their rows;
            "auto" takes names, and "overlap" for lists by path or order with whole numbers.
        join: of lists by path: one path ends with the other ("suffix"), or equal file "name"s.
        cleaned: the list of the rows that were left right; only they decide an overlap then.

    Raises:
        InputError: the file cannot be used, or is for other rows.
    """
    file = Path(path)
    if is_overlay(file):
        if (key, numbering, join, cleaned) != (None, "auto", "suffix", None):
            raise InputError(f"{path} is a label overlay, which takes no further options")
        return _from_overlay(subject, read_overlay(file), path)
    if has_key(file, CORRECTED):
        raise InputError(
            f"{path} holds corrected labels, which are no noise: train with --labels {path}"
        )
    found = read_list(file, key)
    entries = _entries(subject, found, join, path)
    labels = [found.labels[entry] for entry in entries]
    given = [subject.classes[number] for number in subject.labels]
    votes = Counter(zip(_right_labels(found, given, path) or labels, given, strict=True))
    if cleaned is not None:
        right = _entries(subject, read_list(Path(cleaned), None), join, cleaned, is_part=True)
        rows = np.flatnonzero(right >= 0)
        votes = Counter((labels[row], given[row]) for row in rows)
    names = class_names(
        labels, votes, subject.classes, numbering=numbering, is_by_id=found.is_by_id, source=path
    )
    return _corrupted(subject, [names[label] for label in labels])


def _right_labels(found: LabelList, given: Sequence[str], source: str) -> list[str] | None:
    """Return the right labels that the file has beside; they show whether the order is ours."""
    if found.clean is None:
        return None
    pairs = set(zip(found.clean, given, strict=True))
    if not len(pairs) == len(set(found.clean)) == len(set(given)):
        raise InputError(
            f"the right labels in {source} are not those of the training rows: its rows are in "
            "another order, or it belongs to another set"
        )
    return found.clean


def _entries(
    subject: Subject, found: LabelList, join: Join, source: str, *, is_part: bool = False
) -> Labels:
    """Find each row's entry, (N,); all rows have one, unless the list is about a part of them."""
    count = len(subject.labels)
    if found.keys is None:
        if len(found.labels) != count:
            raise InputError(
                f"{source} holds {len(found.labels):,} labels in the order of the rows and there "
                f"are {count:,} training rows: expected one for each"
            )
        return np.arange(count)
    entries = entries_of_rows(
        found.keys, subject, is_by_id=found.is_by_id, join=join, source=source
    )
    missing = np.flatnonzero(entries < 0)
    if len(missing) == count or (len(missing) and not is_part):
        hint = "" if found.is_by_id else ", or add join=name if only the folders differ"
        raise InputError(
            f"{len(missing):,} of {count:,} training rows are not in {source}, for example "
            f"{subject.ids[missing[0]]!r}: give the list of this set{hint}"
        )
    return entries


def _from_overlay(subject: Subject, overlay: Overlay, source: str) -> Corrupted:
    """Take the labels of an overlay of the same manifest, row by row through the ids."""
    if overlay.facts.manifest != subject.manifest:
        raise InputError(
            f"the label overlay {source} is of another manifest: it is of "
            f"{overlay.facts.manifest[:12]}, the store of {subject.manifest[:12]}"
        )
    place = {name: at for at, name in enumerate(overlay.ids)}
    names = []
    for row_id, number in zip(subject.ids, subject.labels, strict=True):
        given = subject.classes[number]
        at = place.get(row_id)
        if at is None:
            raise InputError(
                f"the label overlay {source} has no row {row_id!r}: it was made with --protocol "
                f"{overlay.facts.protocol}, train with the same"
            )
        if overlay.given[at] != given:
            raise InputError(
                f"the label overlay {source} is of other labels: {row_id!r} was given "
                f"{overlay.given[at]!r}, now it is {given!r}; make it again"
            )
        names.append(overlay.labels[at])
    # A class that lost all its rows stays a class; one that these rows never had does not come in.
    present = {*names, *subject.classes}
    classes = tuple(name for name in overlay.facts.classes if name in present)
    return Corrupted(_numbered(names, classes), classes, overlay.facts.nominal_rate)


def _corrupted(subject: Subject, names: Sequence[str]) -> Corrupted:
    """Number the names (N,): the classes of the store in their order, then those that are new."""
    used = dict.fromkeys(names)
    old = [name for name in subject.classes if name in used]
    known = set(old)
    classes = (*old, *(name for name in used if name not in known))
    return Corrupted(_numbered(names, classes), classes, None)


def _numbered(names: Sequence[str], classes: Sequence[str]) -> Labels:
    number = {name: at for at, name in enumerate(classes)}
    return np.array([number[name] for name in names], dtype=np.int64)
