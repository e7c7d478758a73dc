"""Which class each label of a list means.

Published lists number the classes from 0 or from 1, some number the classes that are left anew, and
some hold a number that no class has (the 101 of two CUB lists). Matching by overlap needs no word
about it: most rows of a class still carry its label, or, where classes were dissolved, all rows of
a surviving class do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from cache.errors import InputError

Numbering = Literal["auto", "names", "overlap", "zero", "one"]
_LEAST = 0.2  # share of the rows that a match by overlap has to explain


def class_names(
    labels: Sequence[str],
    votes: Counter[tuple[str, str]],
    classes: Sequence[str],
    *,
    numbering: Numbering,
    is_by_id: bool,
    source: str,
) -> dict[str, str]:
    """Name the class of each label of a list; what no class has becomes a class `list:LABEL`.

    Args:
        labels: as the list writes them.
        votes: how many rows have which label of the list and which given class.
        classes: names of the given classes, in order.
        numbering: "names": labels are class names; "zero", "one": the number of a class in that
            order, from 0 or from 1; "overlap": the class that it shares most rows with; "auto":
            "overlap" for whole numbers, unless all of them are names and the list is by id; else
            "names".
        is_by_id: whether the list has ids, so it was made for a manifest.
        source: the list's name, for errors.

    Raises:
        InputError: labels have no number, or too few rows agree.
    """
    distinct = sorted(set(labels), key=lambda label: (len(label), label))
    if numbering == "auto":
        is_number = all(label.isdecimal() for label in distinct)
        is_named = is_by_id and set(classes).issuperset(distinct)
        numbering = "overlap" if is_number and not is_named else "names"
    if numbering == "names":
        return {label: label for label in distinct}
    if numbering == "overlap":
        found = _by_overlap(votes, classes, source)
    else:
        found = _by_number(distinct, classes, numbering == "one", source)
    return {label: found.get(label, f"list:{label}") for label in distinct}


def _by_number(
    distinct: Sequence[str], classes: Sequence[str], is_from_one: bool, source: str
) -> dict[str, str]:
    names = {str(at): name for at, name in enumerate(classes, start=int(is_from_one))}
    if wrong := [label for label in distinct if not label.isdecimal()]:
        raise InputError(
            f"{source} has the label {wrong[0]!r}, which is no number: leave numbering out"
        )
    return {label: names[str(int(label))] for label in distinct if str(int(label)) in names}


def _by_overlap(
    votes: Counter[tuple[str, str]], classes: Sequence[str], source: str
) -> dict[str, str]:
    """Pair labels and classes one to one, those with most common rows first."""
    place = {name: at for at, name in enumerate(classes)}
    # Equal counts are common in small classes: the pair whose numbers differ as most do goes first.
    shifts: Counter[int] = Counter()
    for (label, name), count in votes.items():
        shifts[_shift(label, place[name])] += count

    def rank(pair: tuple[str, str]) -> tuple[int, int, int, str]:
        label, name = pair
        return -votes[pair], -shifts[_shift(label, place[name])], place[name], label

    found: dict[str, str] = {}
    taken: set[str] = set()
    for label, name in sorted(votes, key=rank):
        if label not in found and name not in taken:
            found[label] = name
            taken.add(name)
    agreeing, total = sum(votes[pair] for pair in found.items()), votes.total()
    if agreeing < _LEAST * total:
        raise InputError(
            f"only {agreeing:,} of {total:,} rows agree with {source} about classes: say what its "
            "labels are with numbering=names, zero or one"
        )
    return found


def _shift(label: str, place: int) -> int:
    return int(label) - place if label.isdecimal() else 0
