"""What an audit found, as files in one folder.

    findings.parquet   one row for each training image, most suspicious first
    classes.parquet    pairs of classes that are mutually confused, most confused first
    summary.json       the store, the settings, counts, the estimated noise rate, measures
    noise.parquet      the labels, as an overlay of `dml noise`, if they were made wrong on purpose
    findings.csv       the first table again, if it is asked for

`label_score` and `is_label_issue` are named as cleanlab names them. Of the evidence, `knn`,
`centre`, `out_of_fold` and `dynamics` are in [0, 1], high = suspicious, NaN = nothing is known.

Each file is replaced in one step, the summary last; it holds the digests of the tables, so that
files of two audits are never taken for one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from cache.errors import InputError
from cache.places.durable import make_folders, replace_file, writing_to
from pipeline.noise._overlay import Overlay, packed, read_overlay

FINDINGS, CLASSES, SUMMARY = "findings.parquet", "classes.parquet", "summary.json"
NOISE, CSV = "noise.parquet", "findings.csv"
Kind = Literal["wrong label", "out of set", "ambiguous", ""]
KINDS: tuple[Kind, ...] = ("wrong label", "out of set", "ambiguous", "")
SHOWN = 6  # neighbours that a row names in each of two classes

_IDS = pa.list_(pa.string())
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "path": pa.string(),
        "given_label": pa.string(),
        "suggested_label": pa.string(),
        "label_score": pa.float32(),
        "is_label_issue": pa.bool_(),
        "p_wrong": pa.float32(),
        "kind": pa.string(),
        "reason": pa.string(),
        "knn": pa.float32(),
        "centre": pa.float32(),
        "out_of_fold": pa.float32(),
        "dynamics": pa.float32(),
        "same_class": _IDS,
        "suggested_class": _IDS,
    }
)
PAIRS_SCHEMA = pa.schema(
    {
        "a": pa.string(),
        "b": pa.string(),
        "rows_ab": pa.int64(),
        "rows_ba": pa.int64(),
        "share": pa.float64(),
    }
)


@dataclass(frozen=True)
class Finding:
    """What was found of one training image; the fields are the columns of `findings.parquet`.

    Attributes:
        id: of the image.
        path: where it lies, relative to the images' root.
        given_label: as used by the audit, with injected noise if there was any.
        suggested_label: the class that fits best among the others.
        label_score: in [0, 1], low = suspicious.
        is_label_issue: whether the label is more probably wrong than right.
        p_wrong: calibrated probability in [0, 1] that the label is wrong.
        kind: "wrong label", "out of set", "ambiguous" or "" where nothing is to be done.
        reason: one short sentence.
        knn: how much the neighbours' labels speak against the label, in [0, 1]; NaN = unknown.
        centre: how much the class centres do.
        out_of_fold: how much a classifier does that has not seen the image.
        dynamics: how much a run does that was trained with the label.
        same_class: ids of the nearest images of the given class, nearest first, at most `SHOWN`.
        suggested_class: the same in the suggested class.
    """

    id: str
    path: str
    given_label: str
    suggested_label: str
    label_score: float
    is_label_issue: bool
    p_wrong: float
    kind: Kind
    reason: str
    knn: float
    centre: float
    out_of_fold: float
    dynamics: float
    same_class: list[str]
    suggested_class: list[str]


@dataclass(frozen=True)
class Findings:
    """An audit.

    Attributes:
        table: of `SCHEMA`, sorted by p_wrong, highest first.
        classes: of `PAIRS_SCHEMA`: `rows_ab` images labelled a look like b, `rows_ba` the other way
            round, together a `share` of the images of both.
        summary: plain JSON values; see `pipeline.audit.audit`.
        noisy: the labels that were audited, where a noise had made them wrong; else None.
    """

    table: pa.Table
    classes: pa.Table
    summary: dict[str, Any]
    noisy: Overlay | None = None

    def rows(self) -> list[Finding]:
        """List the findings, most suspicious first."""
        return [Finding(**row) for row in self.table.to_pylist()]

    def suspects(self) -> list[Finding]:
        """List the findings that have a kind, most suspicious first."""
        return [row for row in self.rows() if row.kind]

    def save(self, folder: Path, *, with_csv: bool = False) -> None:
        """Write the files, each in one step; what else lies in the folder stays.

        Args:
            folder: is made, with those above it.
            with_csv: whether `findings.csv` is written, too; if not, an older one is removed.

        Raises:
            DiskFullError: there is no room.
            InputError: the folder cannot be written to.
        """
        check_folder(folder)
        contents = {FINDINGS: _packed(self.table), CLASSES: _packed(self.classes)}
        if self.noisy is not None:
            contents[NOISE] = packed(self.noisy)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        summary = json.dumps({**self.summary, "sha256": digests}, indent=2, allow_nan=False)
        with writing_to(folder):
            make_folders(folder)
            for name, content in contents.items():
                replace_file(folder / name, content)
            if with_csv:
                replace_file(folder / CSV, as_csv(self.table))
            for name, is_written in {CSV: with_csv, NOISE: NOISE in contents}.items():
                if not is_written:
                    (folder / name).unlink(missing_ok=True)  # an older audit's
            replace_file(folder / SUMMARY, f"{summary}\n".encode())

    @classmethod
    def load(cls, folder: Path) -> Findings:
        """Read an audit again; raises InputError where there is none or its files do not fit."""
        summary = read_summary(folder)
        try:
            digests = dict(summary.pop("sha256"))
            names = [FINDINGS, CLASSES, *([NOISE] if NOISE in digests else [])]
            contents = {name: (folder / name).read_bytes() for name in names}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(folder, f"a file is missing or cannot be read ({error})") from error
        for name, content in contents.items():
            if hashlib.sha256(content).hexdigest() != digests.get(name):
                raise _damaged(folder, f"{name} is not the one that {SUMMARY} was written for")
        table = _unpacked(folder, FINDINGS, contents[FINDINGS], SCHEMA)
        classes = _unpacked(folder, CLASSES, contents[CLASSES], PAIRS_SCHEMA)
        noisy = read_overlay(folder / NOISE) if NOISE in contents else None
        return cls(table, classes, summary, noisy)


def read_summary(folder: Path) -> dict[str, Any]:
    """Read an audit's summary alone, and the digests of its tables as `sha256`.

    Raises:
        InputError: there is none, or it is damaged.
    """
    if not (folder / SUMMARY).is_file():
        raise InputError(
            f"no audit at {folder}: run `dml audit --out {folder}`, or name its folder"
        )
    try:
        return dict(json.loads((folder / SUMMARY).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(folder, f"a file is missing or cannot be read ({error})") from error


def check_folder(folder: Path) -> None:
    """Raise InputError where an audit cannot be written because a file has the folder's name."""
    for place in (folder, *folder.parents):
        if place.exists():
            if not place.is_dir():
                raise InputError(f"{place} is a file, an audit is a folder: choose another --out")
            return


def as_csv(table: pa.Table) -> bytes:
    """Write a table as CSV: numbers with four decimals, lists as JSON, unknown numbers empty."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        writer.writerow([_cell(value) for value in row.values()])
    return stream.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4f}"  # NaN is the only number unequal to itself
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _unpacked(folder: Path, name: str, content: bytes, schema: pa.Schema) -> pa.Table:
    try:
        table = pq.read_table(pa.BufferReader(content))
    except pa.ArrowException as error:
        raise _damaged(folder, f"{name} cannot be read") from error
    for field in schema:
        if field.name not in table.column_names or table.schema.field(field.name) != field:
            raise InputError(
                f"{folder / name} has no column {field.name!r} of {field.type}: it was written by "
                "another version; run dml audit again"
            )
    return table.select(schema.names)


def _damaged(folder: Path, what: str) -> InputError:
    return InputError(f"the audit at {folder} is damaged, {what}: run dml audit again")
