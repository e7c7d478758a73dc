"""The page of suspects: what an audit found, as pictures to decide about, without a server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cache.errors import InputError
from cache.places.durable import replace_file, writing_to
from cache.places.urls import Location, below, located
from cache.store import FeatureStore
from pipeline.audit.findings import Finding, Findings
from pipeline.pages import render
from pipeline.pages.thumbnails import data_uri, thumbnail

TOP = 200
_NEIGHBOURS = 3  # pictures from each of two classes
_SIDE, _SIDE_OF_NEIGHBOUR = 192, 112  # pixels
_THREADS = 4


def suspects_page(
    findings: Findings,
    store: FeatureStore,
    top: int = TOP,
    *,
    then: str = "dml labels apply decisions.csv",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """Lay out the suspects of an audit as one self-contained page with buttons for decisions.

    The browser keeps the decisions, under a key of this audit, and hands them out as the table that
    `dml labels apply` reads. Every suspect is in the page; those behind the first `top` have no
    pictures.

    Args:
        findings: of an audit of the store.
        store: whose images are shown; one that is gone becomes a grey square.
        top: how many suspects have pictures, at least 0.
        then: the command that takes the decisions.
        progress: is told the finished and the total pictures.

    Returns:
        HTML.

    Raises:
        InputError: `top` is negative, or the findings are of other images.
    """
    if top < 0:
        raise InputError(f"--top {top}: expected a whole number of at least 0")
    suspects = findings.suspects()
    paths = dict(zip(*(store.rows[name].to_pylist() for name in ("id", "path")), strict=True))
    sides = _sides(suspects[:top])
    for key in [*(each.id for each in suspects), *sides]:
        if key not in paths:
            raise InputError(
                f"the audit is of other images: {store.path} has no {key!r}; audit the store again"
            )
    root = located(store.root) if store.root else None
    places = {key: None if root is None else below(root, paths[key]) for key in sides}
    data = {
        "key": "dml-suspects-" + _digest(suspects, store),
        "classes": sorted({*store.rows["label"].to_pylist(), *_labels(suspects)} - {""}),
        "suspects": [_facts(rank, each) for rank, each in enumerate(suspects, start=1)],
        "pictures": _pictures(places, sides, progress),
    }
    facts = {
        "name": str(store.path).rstrip("/").rpartition("/")[2],
        "count": f"{len(suspects):,}",
        "shown": f"{min(top, len(suspects)):,}",
        "then": then,
        "is_part": top < len(suspects),
        "data": data,
    }
    return render("suspects.html", facts)


def write_page(path: Path, page: str) -> None:
    """Write a page in one step; an older one is replaced.

    Raises:
        DiskFullError: there is no room.
        InputError: it cannot be written there.
    """
    with writing_to(path):
        replace_file(path, page.encode())


def _sides(suspects: Iterable[Finding]) -> dict[str, int]:
    """List the ids of all pictures that are shown, each with its size."""
    sides: dict[str, int] = {}
    for each in suspects:
        for key in (*each.same_class[:_NEIGHBOURS], *each.suggested_class[:_NEIGHBOURS]):
            sides.setdefault(key, _SIDE_OF_NEIGHBOUR)
    return sides | {each.id: _SIDE for each in suspects}


def _facts(rank: int, each: Finding) -> dict[str, Any]:
    """Write what the page says about one suspect."""
    return {
        "rank": rank,
        "id": each.id,
        "path": each.path,
        "given": each.given_label,
        "suggested": each.suggested_label,
        "p": round(each.p_wrong, 4),
        "kind": each.kind,
        "reason": each.reason,
        "same": each.same_class[:_NEIGHBOURS],
        "other": each.suggested_class[:_NEIGHBOURS],
    }


def _labels(suspects: Iterable[Finding]) -> set[str]:
    return {label for each in suspects for label in (each.given_label, each.suggested_label)}


def _pictures(
    places: dict[str, Location | None], sides: dict[str, int], progress: Callable[[int, int], None]
) -> dict[str, str]:
    """Shrink the pictures, several at once; each is in the page once, whoever it is beside."""

    def small(key: str) -> str:
        return data_uri(thumbnail(places[key], sides[key]))

    found = {}
    with ThreadPoolExecutor(_THREADS) as crew:
        for done, (key, picture) in enumerate(zip(sides, crew.map(small, sides), strict=True), 1):
            found[key] = picture
            progress(done, len(sides))
    return found


def _digest(suspects: Iterable[Finding], store: FeatureStore) -> str:
    """Name this audit, so that two pages opened from one folder keep their decisions apart."""
    facts = [(each.id, each.given_label, each.suggested_label) for each in suspects]
    text = json.dumps([store.fingerprint.digest(), facts])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
