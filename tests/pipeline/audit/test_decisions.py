"""Decisions: read, written, merged, and every fault in one line."""

from __future__ import annotations

import pytest

from cache.errors import InputError
from pipeline.audit.decisions import Conflict, Decision, merge, read_decisions, write_decisions


def written(tmp_path, text):
    path = tmp_path / "d.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


HOSTILE = [
    Decision("a,b.jpg", "relabel", "<script>alert('x')</script>", 'he said "no"'),
    Decision("<img src=x onerror=alert(1)>.jpg", "drop", "", "two\nlines"),
    Decision(" spaces .jpg", "keep", "", ""),
    Decision("=1+1.jpg", "relabel", " label ", ""),
]


def test_what_is_written_is_read_again_whatever_the_texts_hold(tmp_path):
    write_decisions(tmp_path / "new" / "d.csv", HOSTILE)
    assert list(read_decisions(tmp_path / "new" / "d.csv").values()) == HOSTILE


def test_a_table_from_a_spreadsheet_is_read(tmp_path):
    """A byte order mark, Windows' line ends, other columns, capitals, empty and undecided rows."""
    text = "\ufeffId,given,Decision,Label\r\na,x,Keep,\r\nb,x,RELABEL,dog\r\nc,x,,\r\n,,,\r\n\r\n"
    assert read_decisions(written(tmp_path, text)) == {
        "a": Decision("a", "keep"),
        "b": Decision("b", "relabel", "dog"),
    }


def test_label_and_note_may_be_left_out_where_nothing_is_relabelled(tmp_path):
    found = read_decisions(written(tmp_path, "id,decision\na,drop\n"))
    assert found == {"a": Decision("a", "drop")}


FAULTS = {
    "": "has no column 'id', its columns are none: expected the first line id,decision,label,note",
    "id,label\na,b\n": "has no column 'decision', its columns are 'id', 'label'",
    "id,decision,Decision\na,keep,drop\n": "has 2 columns 'decision': keep one of them",
    "id,decision,label\na,keep\n": "line 2 of {} has 2 cells, expected 3: put quotes around",
    "id,decision,label\na,b,relabel,c\n": "line 2 of {} has 4 cells, expected 3",
    "id,decision\n,keep\n": "line 2 of {} has no id",
    "id,decision\na,delete\n": "line 2 of {}: decision 'delete' on 'a' is not known: expected one "
    "of keep, relabel, drop",
    "id,decision,label\na,relabel,\n": "line 2 of {} relabels 'a' and has no label",
    "id,decision\na,relabel\n": "line 2 of {} relabels 'a' and has no label",
    "id,decision,label\na,keep,dog\n": "the decision keep on 'a' and the label 'dog': write",
    "id,decision,label\na,,dog\n": "decision '' on 'a' is not known",
    "id,decision,label\na,keep,\nb,drop,\na,drop,\n": "line 4 of {} decides 'drop' on 'a', an "
    "earlier line 'keep': leave one of them out",
    "id,decision,label\na,relabel,x\na,relabel,y\n": "decides 'relabel y' on 'a', an earlier line",
    'id,decision\n"a,keep\n': "is not a UTF-8 table with commas",
    b"id,decision\n\xff,keep\n": "is not a UTF-8 table with commas",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_is_told_in_one_line(text, tmp_path):
    path = written(tmp_path, text)
    with pytest.raises(InputError) as raised:
        read_decisions(path)
    assert FAULTS[text].format(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="cannot read the decisions .*: no such file"):
        read_decisions(tmp_path / "nowhere.csv")


def test_the_same_decision_twice_is_no_fault(tmp_path):
    text = "id,decision,label,note\na,drop,,one\na,drop,,two\n"
    assert read_decisions(written(tmp_path, text)) == {"a": Decision("a", "drop", "", "two")}


def test_of_two_people_the_later_counts_and_the_conflict_is_told():
    first = {"a": Decision("a", "keep"), "b": Decision("b", "drop"), "c": Decision("c", "keep")}
    second = {
        "a": Decision("a", "relabel", "x"),
        "b": Decision("b", "drop", note="too dark"),
        "d": Decision("d", "drop"),
    }
    merged, conflicts = merge([first, second])
    assert merged == {**second, "c": first["c"]}
    assert conflicts == [Conflict("a", first["a"], second["a"])]
    assert merge([]) == ({}, [])


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write .*; choose another file"):
        write_decisions(tmp_path / "file" / "d.csv", [])
