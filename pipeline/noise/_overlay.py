"""The file form of a label overlay: labels for the training rows of one manifest, to be shared.

A Parquet table with the columns id, path, label (to train with) and given_label (the manifest's),
all texts, one row for each training row. What made it stands as JSON in the file's metadata, key
`dml.overlay`: the fields of `Facts`. Nothing of it changes a store.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from cache.errors import InputError
from cache.places.durable import replace_file

FORMAT = 1
_KEY = b"dml.overlay"
CORRECTED = b"dml.labels"  # key of the files of `dml labels`, which are another form
_COLUMNS = ("id", "path", "label", "given_label")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What made an overlay.

    Attributes:
        format: version of the file form.
        noise: the noise spec.
        seed: that drew it.
        nominal_rate: the share of wrong labels that was asked for; None where nobody said one.
        realised_rate: share of the rows whose label is not the given one.
        manifest: digest of the manifest's ids and file sizes (`rows_digest` of the store).
        protocol: which rows were the training rows.
        features: backbone and weights behind the features, which some noise models look at.
        classes: the classes of the labels, in the order of their numbers; some may have no row.
        dml: version of this program.
    """

    format: int
    noise: str
    seed: int
    nominal_rate: float | None
    realised_rate: float
    manifest: str
    protocol: str
    features: str
    classes: tuple[str, ...]
    dml: str


class Overlay(NamedTuple):
    """N rows: ids, paths, labels and given labels, and what made them."""

    ids: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    given: tuple[str, ...]
    facts: Facts

    def flipped(self) -> list[int]:
        """List the rows whose label is not the given one."""
        return [
            row for row, (a, b) in enumerate(zip(self.labels, self.given, strict=True)) if a != b
        ]


def is_overlay(path: Path) -> bool:
    """Tell whether a file is an overlay; any Parquet file may be asked about."""
    return has_key(path, _KEY)


def has_key(path: Path, key: bytes) -> bool:
    """Tell whether a file is a Parquet file with this key in its metadata."""
    try:
        with pq.ParquetFile(path) as file:
            return key in (file.schema_arrow.metadata or {})
    except (pa.ArrowException, OSError):
        return False


def write_overlay(path: Path, overlay: Overlay) -> None:
    """Write a new overlay in one step.

    Raises:
        InputError: the file is there already, or cannot be written.
    """
    write_new(path, packed(overlay))


def packed(overlay: Overlay) -> bytes:
    """Write an overlay as the bytes of its file."""
    columns = (overlay.ids, overlay.paths, overlay.labels, overlay.given)
    table = pa.table(dict(zip(_COLUMNS, map(list, columns), strict=True)))
    table = table.cast(pa.schema([(name, pa.string()) for name in _COLUMNS]))
    facts = json.dumps(asdict(overlay.facts), allow_nan=False).encode()
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({_KEY: facts}), sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, with the folders above it.

    Raises:
        InputError: the file is there already, or cannot be written.
    """
    refuse_existing(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot write {path}: {reason}; choose another file") from error


def refuse_existing(path: Path) -> None:
    """Raise InputError where a new file would overwrite something."""
    if path.exists() or path.is_symlink():
        raise InputError(f"{path} exists: choose another file or remove it")


def read_overlay(path: Path) -> Overlay:
    """Read an overlay.

    Raises:
        InputError: the file is missing, damaged, no overlay, or of a newer format.
    """
    if not path.is_file():
        raise InputError(f"there is no label overlay at {path}: make one with `dml noise make`")
    if not is_overlay(path):
        raise InputError(
            f"{path} is no label overlay: make one with `dml noise make`, or of a published list "
            "with `dml noise import`"
        )
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(columns=list(_COLUMNS))
            found = json.loads(file.schema_arrow.metadata[_KEY])
        _refuse_newer(path, int(found["format"]))
        facts = _facts(found)
        ids, paths, labels, given = (tuple(table[name].to_pylist()) for name in _COLUMNS)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the label overlay {path} is damaged: make it again") from error
    return Overlay(ids, paths, labels, given, facts)


def _refuse_newer(path: Path, found: int) -> None:
    if found > FORMAT:
        raise InputError(
            f"the label overlay {path} has format {found}, this version of dml knows formats up to "
            f"{FORMAT}: install a newer dml"
        )


def _facts(found: dict[str, Any]) -> Facts:
    known = {each.name: found[each.name] for each in fields(Facts)}
    return Facts(**{**known, "classes": tuple(found["classes"])})
