"""Opening a run together with the store that it was trained on."""

from __future__ import annotations

from pathlib import Path

from cache.errors import InputError
from cache.places.place import place_of
from cache.store import FeatureStore
from pipeline.runs import workspace
from pipeline.runs.record import Run


def open_run(run: Path | None, store: str | Path | None) -> tuple[Run, FeatureStore]:
    """Open a run (None: the latest) and its store (None: the one that its record names).

    Where the recorded store is gone, the latest is taken.

    Raises:
        InputError: there is no such run or store, or the store is another one.
        UnreachableError: the store is at a URL that cannot be read.
    """
    chosen = Run.open(run or workspace.latest("run"))
    recorded = str(chosen.record["store"]["path"])
    is_gone = store is None and place_of(recorded).is_free()
    opened = FeatureStore.open(store or (workspace.latest("store") if is_gone else recorded))
    refuse_other_store(chosen, opened)
    return chosen, opened


def refuse_other_store(run: Run, store: FeatureStore) -> None:
    """Raise InputError unless the run was trained on this store."""
    trained_on, found = run.record["store"]["fingerprint"], store.fingerprint.digest()
    if trained_on != found:
        raise InputError(
            f"{run.path} was trained on a store with fingerprint {trained_on[:12]}, {store.path} "
            f"has {found[:12]}: give the right --store ({run.record['store']['path']})"
        )
