"""A report as one page that stands for itself, and its figures as SVG and CSV files beside it."""

from __future__ import annotations

import csv
import io
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cache.errors import InputError
from cache.places.urls import was_url
from pipeline.output.ablation_lines import ablation_cells, ablation_notes
from pipeline.pages import render
from pipeline.pages.thumbnails import data_uri, thumbnail
from pipeline.report import Report
from pipeline.reporting.comparison import Comparison
from pipeline.reporting.examples import Examples, Picture
from pipeline.reporting.figure import Figure
from pipeline.reporting.inline import inlined
from pipeline.runs.cells import write

_SIDE = 128  # of a picture, in pixels
_OURS = {".svg", ".csv"}


def files_beside(page: Path) -> Path:
    """Name the folder of a page's figures: `report_files/` beside `report.html`."""
    return page.with_name(f"{page.stem}_files")


def refuse_unusable(page: Path) -> None:
    """Raise InputError where a report cannot be written, or would replace other things."""
    if was_url(page):
        raise InputError(f"reports are kept on this machine, {page} is a URL: choose another --out")
    if page.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {page}: expected a name that ends in .html")
    if page.is_dir():
        raise InputError(f"--out {page} is a folder: name a file in it")
    folder = files_beside(page)
    is_other = os.path.lexists(folder) and not folder.is_dir()
    if is_other or any(each.suffix not in _OURS for each in _inside(folder)):
        raise InputError(f"{folder} holds other things than figures: choose another --out")
    above = next(each for each in page.absolute().parents if each.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise InputError(f"cannot write into {above}: choose another --out")


def save_report(report: Report, page: Path, *, command: str) -> list[Path]:
    """Write the page and its files; those of an earlier report at the same place are replaced.

    Args:
        report: what to show.
        page: file of the page.
        command: what was typed, for the facts.

    Returns:
        the page, then its files.

    Raises:
        InputError: it cannot be written, or other things are in the way.
        DiskFullError: there is no room.
    """
    refuse_unusable(page)
    content = page_of(report, command=command).encode()
    figures = [figure for section in report.sections for figure in section.figures]
    folder = files_beside(page)
    files = {}
    for figure in figures:
        files[folder / f"{figure.name}.svg"] = figure.svg.encode()
        files[folder / f"{figure.name}.csv"] = table_of(figure)
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        for file, text in files.items():
            write(part / file.name, text)
        if part.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
    except OSError as error:
        raise InputError(
            f"cannot write {folder}: {error.strerror}; choose another --out"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    write(page, content)
    return [page, *files]


def report_json(report: Report, written: list[Path]) -> dict[str, Any]:
    """Say what was written and what could not be shown, as plain values."""
    return {
        "page": str(written[0]),
        "files": [str(file) for file in written[1:]],
        "runs": report.runs,
        "ablations": len(report.comparisons) - bool(report.runs),
        "left_out": {
            section.key: list(section.left_out) for section in report.sections if section.left_out
        },
        "seconds": report.seconds,
    }


def report_lines(report: Report, written: list[Path]) -> list[str]:
    """Say the same to people."""
    figures = len(written) // 2
    lines = [f"{written[0]}: {figures} figures, also as SVG and CSV in {files_beside(written[0])}"]
    for section in report.sections:
        lines += [f"left out of {section.title.lower()}: {why}" for why in section.left_out]
    return lines


def table_of(figure: Figure) -> bytes:
    """Write a figure's numbers as CSV; what is not known is empty."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(figure.data)
    writer.writerows(zip(*figure.data.values(), strict=True))
    return stream.getvalue().encode()


def page_of(report: Report, *, command: str) -> str:
    """Fill the template."""
    names = [each.name for each in report.comparisons if each.name != "runs"]
    if report.runs:
        names.append(f"{report.runs} run{'s' * (report.runs > 1)}")
    store = report.comparisons[0].summary.store
    drawings = {
        figure.name: Markup(inlined(figure))
        for section in report.sections
        for figure in section.figures
    }
    facts = {
        "subject": " and ".join(names),
        "lead": f"Features of store {store[:12]}; noisy-label metric learning by dml.",
        "tables": [_table(each) for each in report.comparisons],
        "sections": report.sections,
        "drawings": drawings,
        "examples": _examples(report.examples),
        "shown": max(
            (len(found) for each in report.examples for *_, found in each.queries), default=5
        ),
        "side": _SIDE,
        "facts": {"This report": {"command": command, "store": store}, **report.facts},
    }
    return render("report.html", facts)


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _table(comparison: Comparison) -> dict[str, Any]:
    headings, blocks = ablation_cells(comparison.summary)
    return {
        "name": comparison.name,
        "headings": headings,
        "blocks": blocks,
        "notes": ablation_notes(comparison.summary),
    }


def _examples(examples: tuple[Examples, ...]) -> list[dict[str, Any]]:
    """Describe the worst queries with their pictures, each of which is read once."""
    pictures = {
        picture.id: picture
        for each in examples
        for _, asked, found in each.queries
        for picture in (asked, *found)
    }
    shown = {name: _shown(picture) for name, picture in pictures.items()}
    return [
        {
            "name": each.name,
            "queries": [
                {
                    "asked": shown[asked.id],
                    "map_at_r": f"{query.map_at_r:.3f}",
                    "first_right": f"{query.first_right:,}",
                    "found": [
                        {
                            "picture": shown[picture.id],
                            "is_right": item.is_right,
                            "cosine": f"{item.cosine:.3f}",
                        }
                        for item, picture in zip(query.found, found, strict=True)
                    ],
                }
                for query, asked, found in each.queries
            ],
        }
        for each in examples
    ]


def _shown(picture: Picture) -> Mapping[str, str]:
    uri = data_uri(thumbnail(picture.place, _SIDE))
    return {"id": picture.id, "label": picture.label, "uri": uri}
