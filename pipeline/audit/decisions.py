"""What a person decides about labels, as a table `id,decision,label,note`.

A decision is `keep` (the label is right), `relabel` (`label` says what it should be) or `drop` (the
picture shall not train). A row without a decision and without a label is undecided and left aside.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeGuard

from cache.errors import InputError
from cache.places.durable import replace_file

Verdict = Literal["keep", "relabel", "drop"]
VERDICTS: tuple[Verdict, ...] = ("keep", "relabel", "drop")
COLUMNS = ("id", "decision", "label", "note")
_REQUIRED = ("id", "decision")
Decisions = Mapping[str, "Decision"]


@dataclass(frozen=True)
class Decision:
    """What shall become of one picture's label.

    Attributes:
        id: of the picture.
        decision: keep, relabel or drop.
        label: the class that it shall have; empty unless the decision is relabel.
        note: anything that the person wrote beside it.
    """

    id: str
    decision: Verdict
    label: str = ""
    note: str = ""

    @property
    def outcome(self) -> tuple[Verdict, str]:
        """What the decision comes to: equal for two people who agree."""
        return self.decision, self.label

    def __str__(self) -> str:
        """Write the decision for a message."""
        return f"relabel {self.label}" if self.decision == "relabel" else self.decision


class Conflict(NamedTuple):
    """Two different decisions about one picture; the later one counts."""

    id: str
    earlier: Decision
    later: Decision


def read_decisions(path: Path) -> dict[str, Decision]:
    """Read a table of decisions: id -> decision, in the order of the file.

    Raises:
        InputError: the file is missing or no such table, or a row is unclear or contradicts another
            one; the line is named.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot read the decisions {path}: {reason}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a UTF-8 table with commas: {error}") from error
    header = [name.strip().lower() for name in rows.pop(0)[1]] if rows else []
    for name in _REQUIRED:
        if name not in header:
            found = ", ".join(map(repr, header)) or "none"
            raise InputError(
                f"{path} has no column {name!r}, its columns are {found}: expected the first line "
                f"{','.join(COLUMNS)}"
            )
    for name in COLUMNS:
        if header.count(name) > 1:
            raise InputError(f"{path} has {header.count(name)} columns {name!r}: keep one of them")
    decisions: dict[str, Decision] = {}
    for line, row in rows:
        where = f"line {line} of {path}"
        if len(row) != len(header):
            raise InputError(
                f"{where} has {len(row)} cells, expected {len(header)}: put quotes around cells "
                "that contain commas"
            )
        decision = _decision(where, dict(zip(header, row, strict=True)))
        if decision is not None:
            earlier = decisions.get(decision.id, decision)
            if earlier.outcome != decision.outcome:
                raise InputError(
                    f"{where} decides {str(decision)!r} on {decision.id!r}, an earlier line "
                    f"{str(earlier)!r}: leave one of them out"
                )
            decisions[decision.id] = decision
    return decisions


def _decision(where: str, cells: Mapping[str, str]) -> Decision | None:
    """Read one row; None where nothing is decided."""
    key, verdict = cells["id"], cells["decision"].strip().lower()
    label, note = cells.get("label", ""), cells.get("note", "")
    label = label if label.strip() else ""
    if not key.strip():
        raise InputError(f"{where} has no id: every decision names its picture")
    if not verdict and not label:
        return None
    if not _is_verdict(verdict):
        raise InputError(
            f"{where}: decision {verdict!r} on {key!r} is not known: expected one of "
            f"{', '.join(VERDICTS)}"
        )
    if verdict == "relabel" and not label:
        raise InputError(f"{where} relabels {key!r} and has no label: write the class beside it")
    if verdict != "relabel" and label:
        raise InputError(
            f"{where} has the decision {verdict} on {key!r} and the label {label!r}: write "
            "relabel, or leave the label empty"
        )
    return Decision(key, verdict, label, note)


def _is_verdict(text: str) -> TypeGuard[Verdict]:
    return text in VERDICTS


def as_csv(decisions: Iterable[Decision]) -> bytes:
    """Write decisions as `read_decisions` reads them."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((each.id, each.decision, each.label, each.note) for each in decisions)
    return stream.getvalue().encode()


def write_decisions(path: Path, decisions: Iterable[Decision]) -> None:
    """Write decisions in one step; a file that is there already is replaced.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, as_csv(decisions))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot write {path}: {reason}; choose another file") from error


def merge(parts: Sequence[Decisions]) -> tuple[dict[str, Decision], list[Conflict]]:
    """Put the decisions of several people together; of two about one picture the later one counts.

    Returns:
        id -> decision, and where two people did not agree.
    """
    merged: dict[str, Decision] = {}
    conflicts = []
    for part in parts:
        for key, later in part.items():
            earlier = merged.get(key, later)
            if earlier.outcome != later.outcome:
                conflicts.append(Conflict(key, earlier, later))
            merged[key] = later
    return merged, conflicts
