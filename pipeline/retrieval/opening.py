"""Opening what is searched: a run, the untrained features, or an index, with the store."""

from __future__ import annotations

from pathlib import Path

from cache.errors import InputError
from cache.places.urls import Location
from cache.store import FeatureStore
from pipeline.retrieval.index import Index
from pipeline.retrieval.space import Space, space_of
from pipeline.runs import workspace
from pipeline.runs.opening import open_run
from pipeline.runs.record import is_run


def open_space(
    run: Path | None, store: Location | None, *, is_untrained: bool = False, device: str = "auto"
) -> Space:
    """Open the space of a run (None: the latest), or of the untrained features of a store.

    Args:
        run: its folder; with `is_untrained` it only names the store.
        store: None is the run's; the latest, if there is no run to name it.
        is_untrained: whether the run's head is left out.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        InputError: there is no such run, store or device, or the store is another one.
    """
    if not is_untrained:
        return space_of(*open_run(run, store), device=device)
    opened = FeatureStore.open(store or workspace.latest("store")) if run is None else None
    if opened is None:
        chosen, trained_on = open_run(run, store)
        opened = trained_on.choose(chosen.settings.features)
    return space_of(None, opened, device=device)


def open_space_of(
    index: Index, run: Path | None, store: Location | None, *, device: str = "auto"
) -> Space:
    """Open the space that an index was made in, by the places that it has noted.

    Args:
        index: it is compared with what is opened.
        run: where the run is now; None is where it was.
        store: where the store is now; None is where it was.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        InputError: the run or the store is not there, or is another one.
    """
    recorded, store = index.facts["run"], store or index.facts["store"]["path"]
    if recorded is None and run is None:
        opened = FeatureStore.open(str(store), index.facts["features"])
        space = space_of(None, opened, device=device)
    else:
        chosen = run or Path(recorded)
        if run is None and not is_run(chosen):
            raise InputError(
                f"{index.path} is of the run {chosen}, which is not there any more: say where it "
                f"is: `dml search RUN --index {index.path} IMAGE...`"
            )
        space = space_of(*open_run(chosen, store), device=device)
    index.require(space)
    return space
