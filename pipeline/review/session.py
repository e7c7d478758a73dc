"""One person's review: the decisions, their order, and what becomes of them."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from cache.errors import InputError
from pipeline.audit.decisions import VERDICTS, Decision, Verdict, as_csv, write_decisions
from pipeline.review.journal import Event, Journal
from pipeline.review.suspects import Suspects

_SPARE = 200  # lines more than needed that a journal may have before it is written anew


class Session:
    """The decisions about the suspects of one audit; safe to be used by several threads.

    Attributes:
        suspects: what is decided about.
        out: the table of decisions that `export` writes.
    """

    def __init__(self, suspects: Suspects, journal: Journal, out: Path) -> None:
        """Take up the decisions of a journal where it ended.

        Raises:
            InputError: the journal contradicts itself, or the file of decisions is there and was
                not written by this review.
        """
        self.suspects = suspects
        self.out = out
        self._journal = journal
        self._lock = threading.Lock()
        self._steps: list[Decision] = []  # in the order in which they were taken
        self._written: list[str] = []  # digests of the files of decisions that were written
        try:
            for event in journal.events:
                self._replay(event)
        except (IndexError, TypeError) as error:
            raise InputError(f"{journal.path} contradicts itself: move it away") from error
        needed = [*map(asdict, self._steps), *({"written": each} for each in self._written[-2:])]
        if len(journal.events) > len(needed) + _SPARE:
            journal.compact(needed)
        self._refuse_other_file()

    @property
    def decisions(self) -> dict[str, Decision]:
        """Return id -> decision that counts, in the order in which they were taken."""
        with self._lock:
            return {each.id: each for each in self._steps}

    def counts(self) -> dict[str, int]:
        """Count the decisions: of each kind, all ("decided"), and those about suspects."""
        decisions = self.decisions.values()
        found = Counter(each.decision for each in decisions)
        suspects = sum(self.suspects.is_suspect(each.id) for each in decisions)
        verdicts: dict[str, int] = {name: found[name] for name in VERDICTS}
        return {**verdicts, "decided": found.total(), "suspects": suspects}

    def decide(self, row: int, verdict: Verdict, label: str = "", note: str = "") -> None:
        """Decide about one finding; a later decision replaces an earlier one.

        Args:
            row: of the findings.
            verdict: keep, relabel or drop.
            label: for relabel: one of the classes, but not the given label.
            note: anything.

        Raises:
            InputError: there is no such row, the label does not fit, or nothing can be saved.
        """
        decision = Decision(self.suspects.id_of(row), verdict, label, note)
        self._check(row, decision)
        with self._lock:
            self._journal.add(asdict(decision))
            self._steps.append(decision)

    def undo(self) -> int | None:
        """Take the last decision back; returns its row, None where there is nothing to undo."""
        with self._lock:
            if not self._steps:
                return None
            self._journal.add({"undo": True})
            return self.suspects.row_of(self._steps.pop().id)

    def export(self) -> Path:
        """Write the table of decisions, in the order of the findings.

        Raises:
            InputError: it cannot be written, or somebody else wrote it meanwhile.
        """
        decisions = sorted(self.decisions.values(), key=lambda each: self._rank(each.id))
        digest = hashlib.sha256(as_csv(decisions)).hexdigest()
        self._refuse_other_file()
        with self._lock:
            self._journal.add({"written": digest})  # first, so that a killed writer owns its file
            self._written.append(digest)
            write_decisions(self.out, decisions)
        return self.out

    def finish(self) -> Path | None:
        """Write the table of decisions, None where nothing was ever decided."""
        is_needed = self.decisions or self.out.exists()
        return self.export() if is_needed else None

    def _rank(self, key: str) -> int:
        row = self.suspects.row_of(key)
        return len(self.suspects) if row is None else row

    def _check(self, row: int, decision: Decision) -> None:
        if decision.decision not in VERDICTS:
            raise InputError(f"decision {decision.decision!r}: expected {', '.join(VERDICTS)}")
        if decision.decision != "relabel":
            if decision.label:
                raise InputError(f"{decision.decision} takes no label, got {decision.label!r}")
            return
        if not self.suspects.has_class(decision.label):
            raise InputError(f"there is no class {decision.label!r}: choose one of the list")
        if decision.label == self.suspects.given_label(row):
            raise InputError(f"{decision.label!r} is the given label: keep it instead")

    def _replay(self, event: Event) -> None:
        if event.get("undo"):
            self._steps.pop()
        elif "written" in event:
            self._written.append(str(event["written"]))
        else:
            self._steps.append(Decision(**event))

    def _refuse_other_file(self) -> None:
        """Raise InputError where the file of decisions is not one that this review wrote."""
        if self.out.is_dir():
            raise InputError(f"--out {self.out} is a folder: give the name of a CSV file")
        if not self.out.exists():
            return
        if hashlib.sha256(self.out.read_bytes()).hexdigest() not in self._written:
            raise InputError(
                f"{self.out} exists and was not written by this review: choose another --out, or "
                "move it away"
            )
