"""Opening a review: the audit, its images, the decisions so far, and nobody else at work on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache.errors import InputError
from cache.places.urls import located
from cache.store import FeatureStore
from pipeline.audit.findings import SUMMARY, Findings, read_summary
from pipeline.review.journal import FILE, lock_review, open_journal
from pipeline.review.pictures import Pictures
from pipeline.review.session import Session
from pipeline.review.suspects import Suspects
from pipeline.runs import workspace

FOLDER = "review"  # of an audit's folder
OUT = "decisions.csv"


def find_audit(given: Path | None) -> Path:
    """Find the audit that is meant.

    Args:
        given: folder of an audit or of a run; None = what a bare `dml audit` writes. The audit of a
            run is its `audit` folder, or what a bare `dml audit` wrote, if that was of this run.

    Raises:
        InputError: there is none.
    """
    usual = workspace.FOLDER / "audit"
    if given is None:
        if not (usual / SUMMARY).is_file():
            raise InputError(f"no audit at {usual}: run `dml audit` first, or name its folder")
        return usual
    if (given / SUMMARY).is_file():
        return given
    from pipeline.runs.record import is_run  # imports torch, which a review needs for nothing else

    if is_run(given):
        places = (folder for folder in (given / "audit", usual) if _is_of(folder, given))
        folder = next(places, None)
        if folder is None:
            raise InputError(f"{given} has no audit: run `dml audit {given}` first")
        return folder
    raise InputError(f"no audit at {given}: run `dml audit --out {given}`, or name its folder")


@contextmanager
def opened(folder: Path, *, out: Path | None) -> Iterator[tuple[Session, Pictures]]:
    """Open the review of an audit as its only reviewer.

    Args:
        folder: of the audit; the journal is kept in it.
        out: the table of decisions; None = `decisions.csv` in the folder.

    Raises:
        InputError: a file is missing, damaged or another's.
        StoreBusyError: somebody else is reviewing.
    """
    findings = Findings.load(folder)
    store = FeatureStore.open(findings.summary["store"])
    suspects = Suspects(findings, store.rows["label"].unique().to_pylist())
    _refuse_other_images(suspects, store)
    lock = lock_review(folder / FOLDER)
    try:
        journal = open_journal(folder / FOLDER / FILE, suspects.digest)
        session = Session(suspects, journal, out or folder / OUT)
        yield session, Pictures(located(store.root) if store.root else None, suspects.paths)
    finally:
        lock.close()


def _refuse_other_images(suspects: Suspects, store: FeatureStore) -> None:
    """Raise InputError where the store lacks an image of the audit."""
    ids = set(store.rows["id"].to_pylist())
    unknown = next((key for key in suspects.ids if key not in ids), None)
    if unknown is not None:
        raise InputError(
            f"the audit is of other images: {store.path} has no {unknown!r}; run dml audit again"
        )


def _is_of(folder: Path, run: Path) -> bool:
    """Tell whether an audit was made of a run."""
    if not (folder / SUMMARY).is_file():
        return False
    audited = read_summary(folder)["settings"]["run"]
    return audited is not None and Path(audited).resolve() == run.resolve()
