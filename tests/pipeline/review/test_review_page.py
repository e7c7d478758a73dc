"""What the page asks for: rows, findings, pictures, classes; and what it sends."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from pipeline.review.session import Session

FIRST = "<script>alert(1)</script>"


def picture(page: TestClient, row: object, side: object = 160) -> Any:
    return page.get(f"{page.get('/api/review').json()['pictures']}/{row}/{side}")


def test_the_review_says_what_it_is_about(page: TestClient, tmp_path: Path) -> None:
    found = page.get("/api/review").json()
    assert found["title"] == "the audit"
    assert (found["images"], found["suspects"]) == (8, 5)
    assert found["kinds"] == {"wrong label": 3, "out of set": 1, "ambiguous": 1}
    assert found["out"] == str(tmp_path / "decisions.csv")
    assert found["counts"] == {"keep": 0, "relabel": 0, "drop": 0, "decided": 0, "suspects": 0}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"kind": "all"}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"kind": "wrong label"}, [0, 1, 4]),
        ({"kind": "no such kind"}, []),
        ({"label": FIRST}, [0, 4]),
        ({"label": "tea & coffee", "kind": "all"}, [1, 5]),
        ({"state": "undecided"}, [0, 3, 4]),
        ({"state": "decided"}, [1, 2]),
        ({"state": "keep"}, [1]),
        ({"state": "drop", "kind": "all"}, [2, 6]),
        ({"state": "decided", "kind": "out of set"}, [2]),
    ],
)
def test_the_filters_leave_the_rows_that_pass_all_of_them(
    page: TestClient, session: Session, query: dict[str, str], expected: list[int]
) -> None:
    session.decide(1, "keep", note="right")
    session.decide(2, "drop")
    session.decide(6, "drop")
    found = page.get("/api/queue", params=query).json()
    assert found["rows"] == expected
    assert set(found["decided"]) == {"1", "2", "6"}
    assert found["decided"]["1"] == {"decision": "keep", "label": "", "note": "right"}


def test_findings_come_whole_with_unknown_figures_as_null(page: TestClient) -> None:
    later, first = page.get("/api/findings", params={"rows": "4,0"}).json()
    assert (later["row"], first["row"]) == (4, 0)
    assert first["given_label"] == FIRST
    assert first["id"] == "<img src=x onerror=alert(1)>.png"
    assert first["knn"] == pytest.approx(0.9)
    assert first["dynamics"] is None
    assert first["same_class"] == [{"row": 4, "id": "4.png"}]
    assert [each["row"] for each in first["suggested_class"]] == [1, 5]
    assert "path" not in first


@pytest.mark.parametrize("rows", ["", "-1", "8", "0,", "x", "1e3", "99999999999999999999"])
def test_rows_that_are_not_there_are_refused(page: TestClient, rows: str) -> None:
    answer = page.get("/api/findings", params={"rows": rows})
    assert answer.status_code == 400
    assert "finding" in answer.json()["error"]


def test_classes_are_completed_beginnings_first(page: TestClient) -> None:
    def names(text: str) -> list[str]:
        return [each["name"] for each in page.get("/api/classes", params={"text": text}).json()]

    assert names("tea") == ["tea", "tea & coffee"]
    assert names("EA") == ["pear", "tea", "tea & coffee"]
    assert names("<scr") == [FIRST]
    assert names("plum") == []
    assert len(names("")) == 4
    assert page.get("/api/classes", params={"text": "<"}).json()[0]["suspects"] == 2


def test_an_image_is_found_by_its_id_or_a_part_of_it(page: TestClient) -> None:
    assert page.get("/api/find", params={"text": "a&b.png"}).json() == {"row": 1}
    assert page.get("/api/find", params={"text": "onerror"}).json() == {"row": 0}
    assert page.get("/api/find", params={"text": "7.p"}).json() == {"row": 7}
    assert page.get("/api/find", params={"text": "../"}).json() == {"row": None}
    assert page.get("/api/find", params={"text": ""}).json() == {"row": None}


# Pictures


def test_pictures_are_served_by_row_and_may_be_kept(page: TestClient) -> None:
    answer = picture(page, 1)
    assert answer.headers["content-type"] == "image/jpeg"
    assert "immutable" in answer.headers["cache-control"]
    red, _, blue = Image.open(io.BytesIO(answer.content)).convert("RGB").getpixel((20, 15))
    assert abs(red - 30) < 8
    assert abs(blue - 225) < 8


def test_a_picture_is_made_once(page: TestClient, photos: Path) -> None:
    before = picture(page, 2, 640).content
    (photos / "2.png").unlink()
    assert picture(page, 2, 640).content == before
    assert picture(page, 2, 160).content != before  # this one is the grey square


def test_a_removed_image_is_a_grey_square(page: TestClient) -> None:
    answer = picture(page, 7)
    assert answer.status_code == 200
    pixel = Image.open(io.BytesIO(answer.content)).getpixel((5, 5))
    assert max(pixel) - min(pixel) < 16


@pytest.mark.parametrize(
    ("row", "side"),
    [(8, 160), (-1, 160), (1, 161), (1, 10**6), ("1.png", 160), ("..%2f..%2fetc%2fpasswd", 160)],
)
def test_there_are_no_other_pictures(page: TestClient, row: object, side: object) -> None:
    assert picture(page, row, side).status_code == 404


def test_pictures_of_another_audit_are_not_taken_for_these(page: TestClient) -> None:
    assert page.get("/pictures/0000/1/160").status_code == 404


@pytest.mark.parametrize(
    "name", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "/etc/passwd", "base.html", "app.py"]
)
def test_only_the_page_s_own_files_are_served(page: TestClient, name: str) -> None:
    assert page.get(f"/static/{name}").status_code == 404


def test_every_file_that_the_page_names_is_there(page: TestClient) -> None:
    for name in ("style.css", "review.css", "review.js", "icon.svg"):
        assert f"/static/{name}" in page.get("/").text
    for name in ("api", "choosing", "queue", "showing", "review"):
        answer = page.get(f"/static/{name}.js")
        assert answer.headers["content-type"].startswith("text/javascript")
        assert "innerHTML" not in answer.text


# Decisions


def test_a_decision_is_saved_and_counted(page: TestClient, session: Session) -> None:
    body = {"row": 1, "decision": "relabel", "label": FIRST, "note": "<b>"}
    found = page.post("/api/decide", json=body).json()
    assert found["decision"] == {"decision": "relabel", "label": FIRST, "note": "<b>"}
    assert found["counts"]["relabel"] == 1
    assert session.decisions["a&b.png"].label == FIRST


def test_undo_tells_which_finding_it_was_about(page: TestClient) -> None:
    page.post("/api/decide", json={"row": 3, "decision": "keep"})
    page.post("/api/decide", json={"row": 3, "decision": "drop"})
    first, second, third = (page.post("/api/undo", json={}).json() for _ in range(3))
    assert (first["row"], first["decision"]["decision"]) == (3, "keep")
    assert (second["row"], second["decision"]) == (3, None)
    assert (third["row"], third["counts"]["decided"]) == (None, 0)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"row": 8, "decision": "keep"}, "no finding 8"),
        ({"row": "1", "decision": "keep"}, "number"),
        ({"row": True, "decision": "keep"}, "number"),
        ({"row": 1, "decision": "burn"}, "expected one of keep, relabel, drop"),
        ({"row": 1, "decision": ["keep"]}, "expected one of"),
        ({"row": 1, "decision": "keep", "note": 3}, "texts"),
        ({"row": 1, "decision": "keep", "label": "tea"}, "takes no label"),
        ({"row": 1, "decision": "relabel"}, "no class ''"),
        ({"row": 1, "decision": "relabel", "label": "plum"}, "no class 'plum'"),
        ({"row": 1, "decision": "relabel", "label": "tea & coffee"}, "is the given label"),
        ([], "JSON object"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused_and_not_saved(
    page: TestClient, session: Session, body: object, word: str
) -> None:
    answer = page.post("/api/decide", json=body)
    assert answer.status_code == 400
    assert word in answer.json()["error"]
    assert session.decisions == {}


def test_a_body_that_is_no_json_or_too_long_is_refused(page: TestClient) -> None:
    assert page.post("/api/decide", content=b"{").status_code == 400
    assert page.post("/api/decide", content=b" " * 70_000).status_code == 413
    assert page.get("/api/decide").status_code == 405
