"""Which array of a feature file is what: ids, labels and the rest, by name and never by guess."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cache.errors import InputError
from cache.formats import CellError, Form, Source
from cache.rows import BYTES

# The columns of a store's rows, and how they are called in files.
_ROLES = {
    "id": ("ids", "id"),
    "path": ("paths", "path"),
    "label": ("labels", "label"),
    "split": ("split", "splits"),
    "superlabel": ("superlabels", "superlabel"),
    "true_label": ("true_labels", "true_label"),
}
EXPORTED = {role: names[0] for role, names in _ROLES.items()}
_OPTIONS = {"id": "--ids-name", "label": "--labels-name", "split": "--split-name"}


@dataclass(frozen=True, kw_only=True)
class Names:
    """How the arrays of a file are called; None = as usual.

    Attributes:
        features: the features (N, F).
        ids: the ids (N,).
        labels: the given labels (N,).
        split: the splits (N,).
    """

    features: str = "features"
    ids: str | None = None
    labels: str | None = None
    split: str | None = None

    def of(self, role: str) -> str | None:
        """Return the name that was given for a column of the rows."""
        return {"id": self.ids, "label": self.labels, "split": self.split}.get(role)


@dataclass(frozen=True)
class Columns:
    """The columns of N rows.

    Attributes:
        rows: N texts each for id, path, label and, where there, split, superlabel, true_label.
        others: further labels, N texts each, by the name of their array.
        remarks: what was left aside and why, a line each.
    """

    rows: Mapping[str, list[str]]
    others: Mapping[str, list[str]]
    remarks: tuple[str, ...]


def features_form(source: Source, name: str) -> Form:
    """Return the form (N, F) of the features.

    Raises:
        InputError: there is no such array, or it is none of features.
    """
    if name not in source.arrays:
        raise InputError(
            f"{source.path} has no array {name!r}, it holds {source.listing()}: say which are the "
            "features with --features-name"
        )
    form = source.arrays[name]
    if len(form.shape) != 2 or 0 in form.shape or form.kind not in ("float", "integer"):
        raise InputError(
            f"{name} of {source.path} is {form}, expected a row of numbers for each image (N, F): "
            "say which are the features with --features-name"
        )
    return form


def read_columns(
    source: Source, table: Source | None, names: Names, *, ids_from_rows: bool = False
) -> Columns:
    """Read everything but the features.

    What a table has comes before what the file has. Where both have ids, rows are joined by them,
    else the table has to have the rows in the same order.

    Args:
        source: the file with the features.
        table: a table of labels.
        names: of the arrays.
        ids_from_rows: whether ids are row numbers from 0 on, whatever the file holds.

    Raises:
        InputError: ids or labels are missing, doubled or not as many as features, a given name is
            wrong, or two arrays could be the same column.
    """
    count = features_form(source, names.features).shape[0]
    reader = _Reader(source, table, names, count)
    ids = [str(row) for row in range(count)] if ids_from_rows else reader.ids()
    _refuse_double(ids, source)
    found = {role: reader.role(role) for role in _ROLES if role != "id"}
    if found["label"] is None:
        raise reader.missing(
            "there are no labels", "--labels-name NAME, or give a table with --labels TABLE"
        )
    rows = {"id": ids, "path": found["path"] or ids}
    rows |= {role: cells for role, cells in found.items() if cells is not None}
    others, remarks = _others(reader)
    return Columns({role: rows[role] for role in _ROLES if role in rows}, others, tuple(remarks))


class _Reader:
    """Reads columns of a file and of a table beside it in the order of the file's rows."""

    def __init__(self, source: Source, table: Source | None, names: Names, count: int) -> None:
        self.source, self.table, self.names, self.count = source, table, names, count
        self.used = {(source.path, names.features)}
        self._order = self._joined()

    def ids(self) -> list[str]:
        """Read the ids."""
        at = self._find("id", self.source) or (self.table and self._find("id", self.table))
        self._refuse_unknown("id", bool(at))
        if not at:
            option = "--ids-name NAME, or take row numbers with --ids-from rows"
            raise self.missing("there are no ids", option)
        return self.texts(*at)

    def role(self, role: str) -> list[str] | None:
        """Read a column of the rows; None where it is missing."""
        at = (self.table and self._find(role, self.table)) or self._find(role, self.source)
        self._refuse_unknown(role, bool(at))
        return self.texts(*at) if at else None

    def texts(self, source: Source, name: str) -> list[str]:
        """Read a column in the order of the file's rows."""
        self.used.add((source.path, name))
        if source is self.table and self._order is not None:
            cells = source.texts(name)
            return [cells[at] for at in self._order]
        if (form := source.arrays[name]).shape[:1] != (self.count,):
            raise InputError(
                f"{name} of {source.path} is {form}, the features have {self.count:,} rows: "
                "expected one cell for each of them"
            )
        return source.texts(name)

    def rest(self) -> Iterator[tuple[Source, str]]:
        """List the arrays that were not read; ids of a table count as read."""
        for source in filter(None, (self.table, self.source)):
            ids = self._find("id", source)
            for name in source.arrays:
                is_read = (source.path, name) in self.used or ids == (source, name)
                if not is_read and not (source.facts and name == BYTES):
                    yield source, name

    def missing(self, what: str, advice: str) -> InputError:
        """Make the error for a column that nothing has."""
        held = "".join(
            f"{' and ' * (at > 0)}{each.path} holds {each.listing()}"
            for at, each in enumerate(filter(None, (self.source, self.table)))
        )
        return InputError(f"{what}: {held}: say which they are with {advice}")

    def _find(self, role: str, source: Source) -> tuple[Source, str] | None:
        given = self.names.of(role)
        wanted = (given,) if given is not None else _ROLES[role]
        here = [name for name in wanted if name in source.arrays]
        if len(here) > 1:
            advice = _OPTIONS.get(role)
            raise InputError(
                f"{source.path} holds both {here[0]!r} and {here[1]!r}: "
                + (f"say which with {advice}" if advice else "rename one of them")
            )
        return (source, here[0]) if here else None

    def _refuse_unknown(self, role: str, is_found: bool) -> None:
        given = self.names.of(role)
        if given is not None and not is_found:
            raise self.missing(f"there is no array {given!r}", f"{_OPTIONS[role]} NAME")

    def _joined(self) -> list[int] | None:
        """Find the table's row of each row by the ids; None where they go by order."""
        if self.table is None:
            return None
        ours, theirs = self._find("id", self.source), self._find("id", self.table)
        if ours is None or theirs is None:
            return None
        ids, keys = self.source.texts(ours[1]), self.table.texts(theirs[1])
        _refuse_double(keys, self.table)
        place = {key: at for at, key in enumerate(keys)}
        if absent := next((each for each in ids if each not in place), None):
            raise InputError(
                f"{self.table.path} has no row for the id {absent!r} of {self.source.path}: "
                "expected one for each"
            )
        return [place[each] for each in ids]


def _others(reader: _Reader) -> tuple[dict[str, list[str]], list[str]]:
    """Read further labels; say of all other arrays why they were left aside."""
    others: dict[str, list[str]] = {}
    remarks = []
    for source, name in reader.rest():
        form = source.arrays[name]
        rows = form.shape if source is reader.table else (reader.count,)
        if form.kind not in ("text", "integer") or form.shape != rows or len(rows) != 1:
            remarks.append(f"left aside: {name} {form} is no column of labels")
            continue
        try:
            cells = reader.texts(source, name)
        except CellError as error:
            remarks.append(f"left aside: {error}")
            continue
        if "" in cells:
            remarks.append(f"left aside: {name} has an empty cell in row {cells.index('') + 1}")
        elif len(set(cells)) == len(cells):
            remarks.append(f"left aside: {name} has another value in each row, so it is no label")
        else:
            others[name] = cells
    return others, remarks


def _refuse_double(ids: Sequence[str], source: Source) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: dict[str, int] = {}
    for row, each in enumerate(ids, start=1):
        if each in seen:
            raise InputError(
                f"rows {seen[each]} and {row} of {source.path} have the same id {each!r}: expected "
                "another one in each row, or take row numbers with --ids-from rows"
            )
        seen[each] = row
