"""The file form of corrected labels: an overlay over one manifest that people's decisions made.

A Parquet table with a row for each row of the manifest, whatever its split:

    id, path        of the picture
    label           to train with; a dropped row keeps the one that it had
    given_label     before any decision: the manifest's, or that of the noise it was begun with
    manifest_label  the store's
    decision, note  keep, relabel or drop, and what was written beside it; empty without a decision

What made it stands as JSON in the file's metadata, key `dml.labels`: the fields of `Facts`. Each
version names the digest of the file that it was made from. Nothing of it changes a store.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from cache.errors import InputError
from pipeline.noise._overlay import CORRECTED, has_key, is_overlay, refuse_existing, write_new

FORMAT = 1
_COLUMNS = ("id", "path", "label", "given_label", "manifest_label", "decision", "note")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One version.

    Attributes:
        version: 1, 2, ...
        parent: SHA-256 of the file that it was made from; None where that was the store.
        created: when, ISO 8601 in UTC.
        sources: names of the files of decisions.
        keep: decisions of this step, of each kind.
        relabel: the same.
        drop: the same.
        overruled: how many of them differ from an earlier decision.
    """

    version: int
    parent: str | None
    created: str
    sources: tuple[str, ...]
    keep: int
    relabel: int
    drop: int
    overruled: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What made corrected labels.

    Attributes:
        format: version of the file form.
        manifest: digest of the manifest's ids and file sizes (`rows_digest` of the store).
        noise: what made the given labels wrong, where it was begun with an overlay of `dml noise`.
        history: one step for each version, the first one first.
        dml: version of this program.
    """

    format: int
    manifest: str
    noise: str | None
    history: tuple[Step, ...]
    dml: str


class CorrectedLabels(NamedTuple):
    """N rows of a manifest; the columns are those of the file."""

    ids: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    given: tuple[str, ...]
    of_manifest: tuple[str, ...]
    decisions: tuple[str, ...]
    notes: tuple[str, ...]
    facts: Facts

    @property
    def version(self) -> int:
        """Count the times that decisions were applied."""
        return len(self.facts.history)

    def counts(self) -> dict[str, int]:
        """Count the rows by decision; several decisions about one row count once."""
        found = Counter(self.decisions)
        return {verdict: found[verdict] for verdict in ("keep", "relabel", "drop")}


def write_corrected(path: Path, corrected: CorrectedLabels) -> None:
    """Write new corrected labels in one step.

    Raises:
        InputError: the file is there already, or cannot be written.
    """
    refuse_existing(path)
    *columns, facts = corrected
    table = pa.table(dict(zip(_COLUMNS, map(list, columns), strict=True)))
    table = table.cast(pa.schema([(name, pa.string()) for name in _COLUMNS]))
    text = json.dumps(asdict(facts), allow_nan=False).encode()
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({CORRECTED: text}), sink, compression="zstd")
    write_new(path, sink.getvalue().to_pybytes())


def read_corrected(path: Path) -> CorrectedLabels:
    """Read corrected labels.

    Raises:
        InputError: the file is missing, damaged, something else, or of a newer format.
    """
    if not path.is_file():
        raise InputError(
            f"there are no corrected labels at {path}: make them with `dml labels apply`"
        )
    if is_overlay(path):
        raise InputError(
            f"{path} is an overlay of dml noise: train with --noise file:{path}, or correct it "
            f"with `dml labels apply DECISIONS.csv --onto {path}`"
        )
    if not has_key(path, CORRECTED):
        raise InputError(
            f"{path} holds no corrected labels: make them of decisions with `dml labels apply`"
        )
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(columns=list(_COLUMNS))
            found = json.loads(file.schema_arrow.metadata[CORRECTED])
        _refuse_newer(path, int(found["format"]))
        columns = {name: tuple(table[name].to_pylist()) for name in _COLUMNS}
        fields = zip(CorrectedLabels._fields, columns.values(), strict=False)
        return CorrectedLabels(**dict(fields), facts=_facts(found))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the corrected labels {path} are damaged: make them again") from error


def write_table(path: Path, corrected: CorrectedLabels) -> None:
    """Write all rows as a new CSV table: id, path, label, given_label, decision, note.

    Raises:
        InputError: the file is there already, or cannot be written.
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    *columns, _ = corrected
    named = dict(zip(_COLUMNS, columns, strict=True))
    names = [name for name in _COLUMNS if name != "manifest_label"]
    writer.writerow(names)
    writer.writerows(zip(*(named[name] for name in names), strict=True))
    write_new(path, stream.getvalue().encode())


def digest_of(path: Path) -> str:
    """Hash a file: what a later version names as its parent, and a run as its labels."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refuse_other_rows(
    corrected: CorrectedLabels, source: object, manifest: str, labels: dict[str, str]
) -> None:
    """Raise InputError unless the corrected labels are of this manifest and its labels.

    Args:
        corrected: what is asked about.
        source: its file, for the message.
        manifest: digest of the store's manifest.
        labels: id -> label of the store, of its rows or of a part of them.
    """
    if corrected.facts.manifest != manifest:
        raise InputError(
            f"the corrected labels {source} are of another manifest: they are of "
            f"{corrected.facts.manifest[:12]}, the store of {manifest[:12]}"
        )
    then = dict(zip(corrected.ids, corrected.of_manifest, strict=True))
    for key, label in labels.items():
        if then.get(key) != label:
            raise InputError(
                f"the corrected labels {source} are of other labels: {key!r} was {then.get(key)!r} "
                f"in the store, now it is {label!r}; apply the decisions again"
            )


def _refuse_newer(path: Path, found: int) -> None:
    if found > FORMAT:
        raise InputError(
            f"the corrected labels {path} have format {found}, this version of dml knows "
            f"formats up to {FORMAT}: install a newer dml"
        )


def _facts(found: dict[str, Any]) -> Facts:
    history = tuple(
        Step(**{**step, "sources": tuple(step["sources"])}) for step in found["history"]
    )
    return Facts(**{**found, "history": history})
