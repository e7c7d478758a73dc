"""What was decided: it survives, can be undone, and becomes a table."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache.errors import InputError, StoreBusyError
from pipeline.audit.decisions import Decision, read_decisions
from pipeline.audit.findings import Findings
from pipeline.review import journal as journals
from pipeline.review.journal import lock_review
from pipeline.review.session import Session

Begin = Callable[..., Session]


def lines(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def test_a_process_that_begins_goes_on_where_the_last_one_was(begin: Begin) -> None:
    first = begin()
    first.decide(0, "relabel", "tea", 'looks "like" tea,\nthe 2nd')
    first.decide(1, "keep")
    first.decide(2, "drop")
    first.decide(1, "drop")
    first.undo()
    assert begin().decisions == first.decisions
    assert begin().counts() == {"keep": 1, "relabel": 1, "drop": 1, "decided": 3, "suspects": 3}


def test_undo_goes_back_step_by_step_also_in_a_later_process(begin: Begin) -> None:
    session = begin()
    for row in (3, 5, 3):
        session.decide(row, "drop" if session.decisions else "keep")
    assert [begin().undo() for _ in range(4)] == [3, 5, 3, None]
    assert begin().decisions == {}


def test_a_step_is_in_the_file_before_the_call_returns(begin: Begin, tmp_path: Path) -> None:
    session = begin()
    session.decide(0, "keep")
    assert lines(tmp_path)[-1] == {"id": NAME, "decision": "keep", "label": "", "note": ""}
    session.undo()
    assert lines(tmp_path)[-1] == {"undo": True}


NAME = "<img src=x onerror=alert(1)>.png"


@pytest.mark.parametrize("rest", [b'{"id": "a&b.p', b'{"id"', b"\x00\x00", b'{"undo": true}'])
def test_a_line_that_was_cut_off_is_left_out_and_overwritten(
    begin: Begin, tmp_path: Path, rest: bytes
) -> None:
    begin().decide(0, "keep")
    with open(tmp_path / "journal.jsonl", "ab") as file:
        file.write(rest)
    session = begin()
    assert list(session.decisions) == [NAME]
    session.decide(1, "drop")
    assert list(begin().decisions) == [NAME, "a&b.png"]
    assert rest not in (tmp_path / "journal.jsonl").read_bytes().splitlines()


def test_a_decision_that_cannot_be_written_is_not_taken(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = begin()
    session.decide(0, "keep")
    write = journals.append_to_file

    def half(path: Path, content: bytes, *, at: int) -> None:
        write(path, content[:5], at=at)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journals, "append_to_file", half)
    with pytest.raises(InputError, match="not saved, .* no space left on device; mend that"):
        session.decide(1, "drop")
    with pytest.raises(InputError, match="not saved"):
        session.undo()
    monkeypatch.undo()
    assert list(session.decisions) == [NAME]
    session.decide(2, "drop")
    assert list(begin().decisions) == [NAME, "2.png"]


def test_a_long_journal_is_written_anew_with_all_that_can_be_undone(
    begin: Begin, tmp_path: Path
) -> None:
    session = begin()
    session.decide(0, "keep")
    for _ in range(150):
        session.decide(1, "drop")
        session.undo()
    session.decide(2, "drop")
    session.export()
    assert len(lines(tmp_path)) == 304
    again = begin()
    assert again.decisions == session.decisions
    assert len(lines(tmp_path)) == 4
    assert begin().decisions == session.decisions
    begin().export()  # the file is still known as its own
    assert [begin().undo(), begin().undo(), begin().undo()] == [2, 0, None]


# The table


def test_the_table_is_read_back_as_it_was_decided(begin: Begin, tmp_path: Path) -> None:
    session = begin()
    session.decide(2, "drop", note="blurred, mostly")
    session.decide(0, "relabel", "tea & coffee", '=1+1 "quoted"\nsecond line')
    session.decide(1, "relabel", "<script>alert(1)</script>")
    assert session.export() == tmp_path / "decisions.csv"
    found = read_decisions(tmp_path / "decisions.csv")
    assert list(found) == [NAME, "a&b.png", "2.png"]  # in the order of the findings
    assert found == session.decisions
    assert found["2.png"] == Decision("2.png", "drop", "", "blurred, mostly")


def test_the_table_is_replaced_while_it_is_its_own(begin: Begin, tmp_path: Path) -> None:
    begin().decide(0, "keep")
    begin().export()
    begin().decide(1, "keep")
    begin().export()
    assert len(read_decisions(tmp_path / "decisions.csv")) == 2
    (tmp_path / "decisions.csv").write_text("id,decision\n")
    with pytest.raises(InputError, match="was not written by this review"):
        begin()


def test_a_table_of_somebody_else_is_never_replaced(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("precious")
    with pytest.raises(InputError, match=r"mine.csv exists and was not .*choose another --out"):
        begin(out="mine.csv")
    session = begin()
    session.decide(0, "keep")
    (tmp_path / "decisions.csv").write_text("precious")  # while the page is open
    with pytest.raises(InputError, match="was not written by this review"):
        session.export()
    assert (tmp_path / "decisions.csv").read_text() == "precious"


def test_where_nothing_was_decided_no_table_is_written(begin: Begin, tmp_path: Path) -> None:
    assert begin().finish() is None
    assert not (tmp_path / "decisions.csv").exists()
    begin().decide(0, "keep")
    begin().finish()
    begin().undo()
    begin().finish()  # what was written is taken back
    assert read_decisions(tmp_path / "decisions.csv") == {}


# Other findings, other people


def test_an_audit_made_again_of_the_same_labels_goes_on(
    begin: Begin, make_findings: Callable[..., Findings]
) -> None:
    begin().decide(0, "keep")
    found = make_findings()
    again = Findings(found.table.take([*range(7, -1, -1)]), found.classes, {})  # in another order
    assert begin(again).decisions == {NAME: Decision(NAME, "keep")}
    assert begin(again).undo() == 7


def test_decisions_about_other_labels_are_refused(
    begin: Begin, make_findings: Callable[..., Findings]
) -> None:
    begin().decide(0, "keep")
    with pytest.raises(InputError, match="holds 1 steps of a review of other images or labels"):
        begin(make_findings(labels=("tea", "pear")))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "is no journal"),
        (b"{}\n", "format None"),
        (b'{"format": 2}\n', "install a newer dml"),
        (b"rubbish\n", "line 1 .* is damaged"),
        (b"[]\n", "line 1 .* is damaged"),
    ],
)
def test_a_file_that_is_no_journal_is_refused(
    begin: Begin, tmp_path: Path, content: bytes, word: str
) -> None:
    (tmp_path / "journal.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=word):
        begin()
    assert (tmp_path / "journal.jsonl").read_bytes() == content


@pytest.mark.parametrize("line", [b'{"undo": true}', b'{"id": "a"}', b'{"what": 1}'])
def test_a_journal_that_contradicts_itself_is_refused(
    begin: Begin, tmp_path: Path, line: bytes
) -> None:
    begin()
    with open(tmp_path / "journal.jsonl", "ab") as file:
        file.write(line + b"\n")
    with pytest.raises(InputError, match="contradicts itself"):
        begin()


def test_a_second_reviewer_is_told_who_the_first_one_is(tmp_path: Path) -> None:
    first = lock_review(tmp_path / "audit" / "review")
    with pytest.raises(
        StoreBusyError, match=r"process \d+ of \w+ on host .* for \d+ s: wait"
    ) as at:
        lock_review(tmp_path / "audit" / "review")
    assert f"has been reviewing {tmp_path / 'audit'} " in str(at.value)
    first.close()
    lock_review(tmp_path / "audit" / "review").close()


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "review").write_text("a file")
    with pytest.raises(InputError, match=r"not saved, .*review cannot be written: .*; mend that"):
        lock_review(tmp_path / "review")
