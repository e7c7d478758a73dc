"""Whether a store still is what it says: its chunks, its image files, and canaries embedded again.

Canaries are images, evenly spread over the store, whose features are made anew by the code that
made them and compared with what is stored.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from cache.errors import DmlError, InputError
from cache.fingerprint import JSON, Fingerprint
from cache.store import FeatureStore
from pipeline.backbones._backbone import Backbone
from pipeline.extract import library_versions
from pipeline.extraction.again import backbone_of, facts_now
from pipeline.extraction.canaries import (
    ImageFiles,
    Rows,
    embed_again,
    has_same_content,
    look_at_files,
    spread,
    stored_features,
    usable_places,
)
from pipeline.extraction.embed import pick_device
from pipeline.measures.closeness import Closeness, compare_features

Status = Literal["sound", "wrong", "not checked"]
_NAMED = 3  # images or chunks that a line names
_ROUNDS = ("versions",)  # facts that change no more than the last digits, which canaries show


class Check(NamedTuple):
    """One thing that was looked at.

    Attributes:
        name: what.
        status: how it is.
        found: what was found, in a few words.
        advice: what to do; "" where there is nothing to do.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What is right and wrong about a store.

    Attributes:
        store: its path or URL.
        checks: what was looked at.
        differing: facts that would be others now: name -> (in the store, now).
        closeness: for each feature name how far the canaries are from what is stored; empty
            where none was embedded.
        canaries: ids of the images that were embedded again.
        seconds: duration.
    """

    store: str
    checks: tuple[Check, ...]
    differing: dict[str, tuple[JSON, JSON]]
    closeness: dict[str, Closeness]
    canaries: tuple[str, ...]
    seconds: float

    @property
    def faults(self) -> list[Check]:
        """The checks that found something wrong."""
        return [check for check in self.checks if check.status == "wrong"]


def verify(
    store: FeatureStore,
    *,
    weights: Path | None = None,
    device: str = "auto",
    canaries: int = 32,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> VerifyReport:
    """Check a store; nothing is changed.

    Args:
        store: of any format, complete or not.
        weights: file of the backbone's weights; None takes the published ones.
        device: where canaries are embedded: "auto" (cuda, else mps, else cpu), "cpu", ...
        canaries: how many images are embedded again; 0 is none.
        progress: is called with (chunks done, finished chunks) while checksums are compared.

    Raises:
        InputError: there is no such device, `canaries` is negative, or the weights do not fit.
        UnreachableError: a URL cannot be read.
    """
    started = time.perf_counter()
    if canaries < 0:
        raise InputError(f"--canaries is {canaries}, expected 0 or more")
    chosen_device = pick_device(device)
    facts, differing, backbone = _check_facts(store.fingerprint, weights)
    damaged = store.verify(progress)
    files = look_at_files(store)
    usable = usable_places(store, files, {number for number, _ in damaged})
    content, chosen = _check_content(store, files, spread(usable, canaries))
    closeness: dict[str, Closeness] = {}
    if backbone is None or not len(chosen):
        why = _no_canaries(store, files, canaries) if backbone else "no backbone to embed them with"
        again = Check("canaries embedded again", "not checked", why)
    else:
        again, closeness = _check_canaries(store, files, chosen, backbone, chosen_device)
    return VerifyReport(
        store=str(store.path),
        checks=(_check_chunks(store, damaged), _check_sizes(files), content, facts, again),
        differing=differing,
        closeness=closeness,
        canaries=tuple(files.manifest.ids[at] for at in chosen) if closeness else (),
        seconds=time.perf_counter() - started,
    )


def _check_chunks(store: FeatureStore, damaged: list[tuple[int, str]]) -> Check:
    name = "checksums of the chunks"
    if damaged:
        numbers = ", ".join(str(number) for number, _ in damaged[:_NAMED])
        more = ", ..." if len(damaged) > _NAMED else ""
        return Check(
            name,
            "wrong",
            f"{len(damaged):,} of {store.finished_chunks:,} chunks are damaged ({numbers}{more})",
            "run the same `dml extract` again with --repair",
        )
    if not store.is_complete:
        return Check(
            name,
            "sound",
            f"{store.finished_chunks:,} finished chunks; {store.num_chunks:,} belong to the store: "
            "`dml extract` makes the rest",
        )
    chunks = "1 chunk" if store.num_chunks == 1 else f"{store.num_chunks:,} chunks"
    return Check(name, "sound", chunks)


def _check_sizes(files: ImageFiles) -> Check:
    name = "sizes of the image files"
    missing = files.now < 0
    if files.noted is not None:
        missing &= files.noted >= 0
    away = f"{int(missing.sum()):,} of {len(files.now):,} are not where they were"
    if files.noted is None or missing.all():
        why = away if missing.any() else "the store has noted none"
        where = f": {files.manifest.root}" if missing.any() else ""
        return Check(name, "not checked", why + where)
    ids = [files.manifest.ids[at] for at in np.flatnonzero(files.has_changed)]
    looked = f"{len(files.now) - int(missing.sum()):,} files"
    looked += f"; {away}, and were not checked" if missing.any() else ""
    if ids:
        found = f"{_some(ids)} of {looked} changed since"
        return Check(name, "wrong", found, "run the same `dml extract` again with --update")
    return Check(name, "sound", looked)


def _check_content(store: FeatureStore, files: ImageFiles, chosen: Rows) -> tuple[Check, Rows]:
    """Compare the SHA-256 of the canaries' files; also return the canaries that are the same."""
    name = "content of the canaries' files"
    if not len(chosen):
        return Check(name, "not checked", "no canaries"), chosen
    if not store.header.has_images:
        return Check(name, "not checked", "the store has noted none"), chosen
    is_same = has_same_content(store, files, chosen)
    if not is_same.all():
        ids = [files.manifest.ids[at] for at in chosen[~is_same]]
        found = f"{_some(ids)} of {len(chosen):,} changed since, at the same size"
        return Check(name, "wrong", found, "extract into a new store"), chosen[is_same]
    return Check(name, "sound", f"{len(chosen):,} files, SHA-256"), chosen


def _no_canaries(store: FeatureStore, files: ImageFiles, canaries: int) -> str:
    """Say why there are no canaries."""
    if not canaries:
        return "none was asked for"
    if not store.is_complete:
        return "the store is not complete: `dml extract` makes the rest"
    return f"no image in a sound chunk is there as it was: {files.manifest.root}"


def _check_facts(
    facts: Fingerprint, weights: Path | None
) -> tuple[Check, dict[str, tuple[JSON, JSON]], Backbone | None]:
    """Compare the facts of a store with those of now; the backbone is None if it is another one."""
    name = "facts that made the features"
    try:
        backbone = backbone_of(facts, weights=weights)
    except DmlError as error:
        if weights is not None:
            raise  # what the user has named does not fit
        return Check(name, "not checked", str(error)), {}, None
    now = facts_now(facts, backbone, library_versions())
    differing = {field: (ours, theirs) for field, ours, theirs in facts.differences(now)}
    told = "; ".join(
        f"{field} {_short(ours)}, now {_short(theirs)}"
        for field, (ours, theirs) in differing.items()
    )
    if "weights_sha256" in differing:
        advice = "name the file of the weights that it was made with: --weights FILE"
        return Check(name, "wrong", told, advice), differing, None
    if set(differing) - set(_ROUNDS):
        advice = "extract into a new store with this version of dml"
        return Check(name, "wrong", told, advice), differing, None
    return Check(name, "sound", told or "all as they are now"), differing, backbone


def _check_canaries(
    store: FeatureStore, files: ImageFiles, chosen: Rows, backbone: Backbone, device: torch.device
) -> tuple[Check, dict[str, Closeness]]:
    """Embed canaries again and compare all their features, of each pool and view."""
    facts = store.fingerprint
    batches = embed_again(files, chosen, facts, backbone, device)
    now = np.concatenate([batch.values for batch in batches])  # (n, A, F)
    unreadable = sorted(file for batch in batches for file in batch.unreadable)
    ids = [files.manifest.ids[at] for at in chosen]
    name = "canaries embedded again"
    if unreadable:
        found = f"{_some([ids[file] for file in unreadable])} can no longer be read"
        return Check(name, "wrong", found, "put the files back, or extract again"), {}
    closeness = {}
    for at, feature in enumerate(facts.feature_names):
        stored = stored_features(store, feature, files.rows[chosen])
        closeness[feature] = compare_features(
            now[:, at], stored, dtype=facts.dtype, precision=facts.precision
        )
    is_far = np.any([each.is_far for each in closeness.values()], axis=0)
    if is_far.any():
        far = [ids[at] for at in np.flatnonzero(is_far)]
        found = f"{_some(far)} of {len(ids):,} have other features than the store"
        advice = "do not use the store: extract into a new one"
        return Check(name, "wrong", found, advice), closeness
    equal = min(each.equal for each in closeness.values())
    found = f"{len(ids):,} images, {equal:,} of them equal bit for bit"
    if equal < len(ids):
        found += ", the others as far as rounding explains"
    return Check(name, "sound", found), closeness


def _some(names: list[str]) -> str:
    """Write how many there are and name the first."""
    more = ", ..." if len(names) > _NAMED else ""
    return f"{len(names):,} ({', '.join(names[:_NAMED])}{more})"


def _short(value: JSON) -> str:
    """Write a fact; of digests the beginning."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:12] if len(text) == 64 else text
