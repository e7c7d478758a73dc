"""Search results as files: a table with a line for each hit, and a page with the pictures."""

from __future__ import annotations

import csv
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cache.errors import InputError
from cache.places.durable import replace_file
from cache.places.urls import Location, was_url
from pipeline.output.search_lines import search_note, verdict
from pipeline.pages import render
from pipeline.pages.thumbnails import data_uri, thumbnail
from pipeline.retrieval.answers import Answer
from pipeline.search import SearchReport

_SIDE = 160  # of a picture, in pixels
_THREADS = 4
_COLUMNS = (
    "query",
    "rank",
    "id",
    "label",
    "cosine",
    "path",
    "is_match",
    "query_label",
    "query_share",
)


def check_files(html: Path | None, table: Path | None, *, is_forced: bool) -> None:
    """Refuse places that cannot be written to, before any work.

    Raises:
        InputError: a name has another end, exists without `is_forced`, or is none.
    """
    for option, file, suffix in (("--html", html, ".html"), ("--csv", table, ".csv")):
        if file is None:
            continue
        if was_url(file):
            raise InputError(f"{option} {file} is a URL: give the name of a file here")
        if file.suffix.lower() != suffix:
            raise InputError(f"{option} {file}: expected a name that ends in {suffix}")
        if file.is_dir():
            raise InputError(f"{option} {file} is a folder: give the name of a file")
        if file.exists() and not is_forced:
            raise InputError(f"{file} exists: choose another {option}, or overwrite with --force")


def save_csv(report: SearchReport, file: Path) -> None:
    """Write a line for each hit, in one step; raises InputError where it cannot be written."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for answer in report.answers:
        for rank, hit in enumerate(answer.hits, start=1):
            found = (rank, hit.id, hit.label, f"{hit.cosine:.6f}", hit.path, hit.is_match)
            writer.writerow((answer.query.name, *found, answer.label or "", f"{answer.share:.4f}"))
    _write(file, stream.getvalue(), "--csv")


def save_page(report: SearchReport, file: Path) -> None:
    """Write a page with all pictures in it; raises InputError where it cannot be written."""
    places = [
        place
        for answer in report.answers
        for place in (answer.query.place, *(hit.place for hit in answer.hits))
    ]
    different = list(dict.fromkeys(places))
    with ThreadPoolExecutor(_THREADS) as threads:
        pictures = dict(zip(different, threads.map(_picture, different), strict=True))
    facts = {
        "note": search_note(report),
        "has_threshold": report.threshold is not None,
        "answers": [_card(answer, pictures) for answer in report.answers],
        "unreadable": report.unreadable,
    }
    _write(file, render("search.html", facts), "--html")


def _picture(place: Location) -> str:
    return data_uri(thumbnail(place, _SIDE))


def _card(answer: Answer, pictures: dict[Location, str]) -> dict[str, Any]:
    return {
        "name": answer.query.name,
        "picture": pictures[answer.query.place],
        "verdict": verdict(answer),
        "is_match": answer.label is not None,
        "hits": [
            {
                "id": hit.id,
                "label": hit.label,
                "cosine": f"{hit.cosine:.3f}",
                "is_match": hit.is_match,
                "is_of_label": hit.label == answer.label,
                "picture": pictures[hit.place],
            }
            for hit in answer.hits
        ],
    }


def _write(file: Path, text: str, option: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, text.encode("utf-8", "replace"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot write {file}: {reason}; choose another {option}") from error
