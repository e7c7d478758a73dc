"""What was decided, on the disk: an append-only file with a line of JSON for each step.

The first line says what it is about; a decision, an undo and the digest of a written file follow.
Each line is on the disk before the page hears that it was saved, so a process that is killed loses
nothing; a line that was cut off in the middle is left out and overwritten.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cache.errors import InputError, StoreBusyError
from cache.layout import LOCK
from cache.locks.lock import Lock, lock_for_writing
from cache.locks.owner import Owner, duration
from cache.places.durable import append_to_file, make_folders, replace_file
from cache.places.place import LocalPlace

FORMAT = 1
FILE = "journal.jsonl"
Event = dict[str, Any]


class Journal:
    """The open journal of one review; its folder is locked until it is closed.

    Attributes:
        path: the file.
        events: what it held when it was opened, without its first line.
    """

    def __init__(self, path: Path, header: Event, events: list[Event], size: int) -> None:
        """Take the parts; `open_journal` reads them."""
        self.path = path
        self.events = events
        self._header = header
        self._size = size

    def add(self, event: Event) -> None:
        """Append one event; on return it is on the disk.

        Raises:
            InputError: it cannot be written; the journal is as it was.
        """
        line = _line(event)
        try:
            append_to_file(self.path, line, at=self._size)
        except OSError as error:
            raise _not_written(self.path, error) from error
        self._size += len(line)

    def compact(self, events: Sequence[Event]) -> None:
        """Replace all events by fewer that say the same, in one step.

        Raises:
            InputError: they cannot be written; the journal is as it was.
        """
        content = b"".join(map(_line, [self._header, *events]))
        try:
            replace_file(self.path, content)
        except OSError as error:
            raise _not_written(self.path, error) from error
        self.events, self._size = list(events), len(content)


def lock_review(folder: Path) -> Lock:
    """Become the only reviewer of a folder, which is made.

    Raises:
        InputError: the folder cannot be made or written to.
        StoreBusyError: somebody else is reviewing; says who and since when.
    """
    try:
        make_folders(folder)
        return lock_for_writing(LocalPlace(folder.resolve()))
    except StoreBusyError as error:
        owner = Owner.from_json((folder / LOCK).read_bytes())
        who = owner or "another process"
        age = f" for {duration(time.time() - owner.since)}" if owner else ""
        raise StoreBusyError(
            f"{who} has been reviewing {folder.parent}{age}: wait until that review has ended, or "
            "review a copy of the audit's folder"
        ) from error
    except OSError as error:
        raise _not_written(folder, error) from error


def open_journal(path: Path, findings: str) -> Journal:
    """Read a journal, or begin one; to be called while `lock_review` holds its folder.

    Args:
        path: of the file.
        findings: digest of what is reviewed: its ids and given labels.

    Raises:
        InputError: it is damaged, of a newer version, about other findings, or cannot be written.
    """
    header = {"format": FORMAT, "findings": findings}
    if not path.exists():
        journal = Journal(path, header, [], 0)
        journal.compact([])
        return journal
    content = path.read_bytes()
    size = content.rfind(b"\n") + 1  # what follows the last line's end was never finished
    found, *events = _events(path, content[:size])
    if found.get("format") != FORMAT:
        raise InputError(
            f"{path} has format {found.get('format')}, this version of dml knows format {FORMAT}: "
            "install a newer dml"
        )
    if found.get("findings") != findings:
        raise InputError(
            f"{path} holds {len(events):,} steps of a review of other images or labels than the "
            "audit beside it: move that file away to begin anew, or audit into another folder"
        )
    return Journal(path, header, events, size)


def _events(path: Path, content: bytes) -> list[Event]:
    events = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise InputError(f"line {number} of {path} is damaged: remove that line")
        events.append(event)
    if not events:
        raise InputError(f"{path} is no journal of a review: remove it")
    return events


def _not_written(path: Path, error: OSError) -> InputError:
    reason = (error.strerror or str(error)).lower()
    return InputError(f"not saved, {path} cannot be written: {reason}; mend that and try again")


def _line(event: Event) -> bytes:
    return json.dumps(event).encode() + b"\n"
