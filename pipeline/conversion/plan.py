"""What an import will do: everything is read once and checked before a store is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from cache.errors import InputError
from cache.fingerprint import Fingerprint
from cache.formats import Form, Source
from cache.rows import BYTES
from pipeline.conversion.columns import Columns, Names, features_form, read_columns
from pipeline.conversion.identity import STORED_AS, Claim, Look, imported, look
from pipeline.datasets.manifest import make_manifest


@dataclass(frozen=True)
class Plan:
    """All that is known of an import before anything is written.

    Attributes:
        source: the file.
        features: name of the features in it.
        columns: of the rows.
        sizes: of the image files, where an export of ours tells them.
        seen: what a look at all features found.
        fingerprint: of the store.
        root: folder or URL that the paths are relative to.
        remarks: what a user should know, a line each.
    """

    source: Source
    features: str
    columns: Columns
    sizes: list[int] | None
    seen: Look
    fingerprint: Fingerprint
    root: str
    remarks: tuple[str, ...]

    def table(self) -> pa.Table:
        """Return the rows of the store."""
        cells: dict[str, Sequence[object]] = {**self.columns.rows}
        return pa.table(cells if self.sizes is None else {**cells, BYTES: self.sizes})


def plan_import(
    source: Source,
    table: Source | None,
    names: Names,
    *,
    ids_from_rows: bool,
    dtype: str | None,
    skip_nonfinite: bool,
    progress: Callable[[int, int], None],
) -> Plan:
    """Look at all of a file; the arguments are those of `pipeline.convert.import_features`.

    Raises:
        InputError: the file or an argument cannot be used.
    """
    form = features_form(source, names.features)
    columns = read_columns(source, table, names, ids_from_rows=ids_from_rows)
    _check(columns, form)
    ids, remarks = columns.rows["id"], list(columns.remarks)
    claim = Claim.read(source, table)
    stored_as = dtype or (claim.fingerprint.dtype if claim else STORED_AS[form.dtype])
    seen = look(
        source,
        names.features,
        ids,
        dtype=stored_as,
        skip=skip_nonfinite,
        progress=lambda done: progress(done, 2 * len(ids)),
    )
    if claim and seen.digest.with_ids(ids) != claim.sha256:
        remarks.append(
            "features or ids have changed since dml exported them: the fingerprint in the file was "
            "not taken"
        )
        claim, stored_as = None, dtype or STORED_AS[form.dtype]
    if not claim and form.dtype != stored_as:
        remarks.append(f"the features are {form.dtype} in the file and {stored_as} in the store")
    if claim:
        fingerprint, root = replace(claim.fingerprint, dtype=stored_as), claim.root
    else:
        fingerprint = imported(source, names.features, ids, seen, dtype=stored_as)
        root = str(source.path.resolve().parent)
    return Plan(
        source=source,
        features=names.features,
        columns=columns,
        sizes=_sizes(source, table, len(ids)) if claim else None,
        seen=seen,
        fingerprint=fingerprint,
        root=root,
        remarks=tuple(remarks),
    )


def _check(columns: Columns, form: Form) -> None:
    """Refuse features and rows that no store takes."""
    if form.dtype not in STORED_AS:
        raise InputError(
            f"the features are {form.dtype}, expected one of {', '.join(STORED_AS)}: convert them"
        )
    rows = columns.rows
    make_manifest(
        ids=rows["id"],
        paths=rows["path"],
        labels=rows["label"],
        root=Path(),
        splits=rows.get("split"),
        superlabels=rows.get("superlabel"),
        true_labels=rows.get("true_label"),
    )


def _sizes(source: Source, table: Source | None, count: int) -> list[int] | None:
    """Read the sizes of the image files, which an export holds where they are known."""
    holder = source if table is None or source.facts else table
    form = holder.arrays.get(BYTES)
    if form is None or form.shape != (count,):
        return None
    try:
        return [int(cell) for cell in holder.texts(BYTES)]
    except ValueError:  # somebody has changed them
        return None
