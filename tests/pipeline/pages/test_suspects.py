"""The page of suspects: self-contained, hostile texts harmless, decisions kept and downloaded."""

from __future__ import annotations

import json
import re

import pyarrow as pa
import pytest

from cache.errors import InputError
from pipeline.audit.decisions import read_decisions
from pipeline.audit.findings import PAIRS_SCHEMA, SCHEMA, Findings
from pipeline.pages.suspects import suspects_page

from ...chromium import chromium, listen, needs_chromium

SCRIPT = "<script>document.title='hacked'</script>"
IMAGE = "</script><img src=x onerror=\"document.title='hacked'\">"


def finding(row, **changed):
    facts = {
        "id": f"{row:04}.jpg",
        "path": f"{row:04}.jpg",
        "given_label": str(row % 12),
        "suggested_label": str((row + 1) % 12),
        "label_score": 0.1,
        "is_label_issue": True,
        "p_wrong": 0.9,
        "kind": "wrong label",
        "reason": "Its neighbours are of another class.",
        **dict.fromkeys(("knn", "centre", "out_of_fold", "dynamics"), float("nan")),
        "same_class": [f"{(row + 12) % 192:04}.jpg"],
        "suggested_class": [f"{(row + 1) % 192:04}.jpg", f"{(row + 13) % 192:04}.jpg"],
    }
    return {**facts, **changed}


def findings_of(rows):
    return Findings(pa.Table.from_pylist(rows, SCHEMA), PAIRS_SCHEMA.empty_table(), {})


def data_of(page):
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(text)


def hostile():
    """Texts that try to be more than text."""
    return [
        finding(0, given_label=SCRIPT, suggested_label=IMAGE, path=IMAGE, reason=SCRIPT),
        finding(1, kind="out of set", suggested_label="", suggested_class=[]),
        finding(2, given_label='a,"b"', kind="ambiguous"),
    ]


def test_hostile_texts_are_data_and_nothing_else(store):
    page = suspects_page(findings_of(hostile()), store, then=f"dml labels apply '{SCRIPT}'")
    assert "<script>document" not in page
    assert "dml labels apply &#39;&lt;script&gt;" in page
    assert "<img src=x" not in page
    first = data_of(page)["suspects"][0]
    assert (first["given"], first["suggested"], first["path"]) == (SCRIPT, IMAGE, IMAGE)


def test_the_page_needs_nothing_from_outside_and_has_no_inline_handler(store):
    page = suspects_page(findings_of(hostile()), store)
    without_data = re.sub(r'id="data">.*?</script>', "", page, flags=re.S)
    assert not re.search(r"https?://|//cdn|@import|src=\"", without_data)
    assert not re.search(r"<[^>]+\son[a-z]+=", without_data)


def test_suspects_and_their_neighbours_have_pictures_up_to_the_top_ones(store):
    """No image of this store is there: each is a grey square, and none an error."""
    rows = [finding(row) for row in range(5)] + [finding(9, kind="")]
    page = suspects_page(findings_of(rows), store, top=2)
    data = data_of(page)
    assert [each["id"] for each in data["suspects"]] == [f"{row:04}.jpg" for row in range(5)]
    shown = {0, 1, 2, 12, 13, 14}
    assert set(data["pictures"]) == {f"{row:04}.jpg" for row in shown}
    assert all(each.startswith("data:image/jpeg;base64,") for each in data["pictures"].values())
    assert "the first 2 with pictures" in page


def test_pages_of_two_audits_keep_their_decisions_apart(store):
    keys = [
        data_of(suspects_page(findings_of([finding(row)]), store, 0))["key"] for row in (0, 1, 0)
    ]
    assert keys[0] == keys[2] != keys[1]


def test_findings_of_another_store_and_a_negative_top_are_refused(store):
    with pytest.raises(InputError, match="the audit is of other images: .* has no 'x.jpg'"):
        suspects_page(findings_of([finding(0, same_class=["x.jpg"])]), store)
    with pytest.raises(InputError, match="--top -1: expected a whole number of at least 0"):
        suspects_page(findings_of([]), store, -1)


def test_an_audit_without_suspects_is_a_page_too(store):
    assert "0 images whose labels look wrong" in suspects_page(findings_of([]), store)


@pytest.fixture
def browser():
    with chromium() as found:
        yield found


@needs_chromium
@pytest.mark.slow
def test_a_person_decides_and_downloads_the_table(store, tmp_path, browser):
    file = tmp_path / "suspects.html"
    file.write_text(suspects_page(findings_of(hostile()), store), encoding="utf-8")
    page = browser.new_page()
    faults = listen(page)
    page.goto(file.as_uri())
    cards = page.locator("article")
    assert cards.count() == 3
    cards.nth(0).get_by_role("button", name="Relabel").click()
    cards.nth(1).get_by_role("button", name="Drop").click()
    cards.nth(2).get_by_label("Note").fill('two "words", here')
    cards.nth(2).get_by_role("button", name="Keep").click()
    page.reload()  # what was decided is kept
    assert page.locator("#progress").inner_text() == "3 of 3 decided"
    assert cards.nth(1).get_attribute("data-decision") == "drop"
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").click()
    waiting.value.save_as(tmp_path / "decisions.csv")
    found = read_decisions(tmp_path / "decisions.csv")
    assert [each.outcome for each in found.values()] == [
        ("relabel", IMAGE),
        ("drop", ""),
        ("keep", ""),
    ]
    assert found["0002.jpg"].note == 'two "words", here'
    page.locator("#of-kind").select_option("out of set")
    assert cards.count() == 1
    cards.nth(0).get_by_role("button", name="Drop").click()  # the same again undoes it
    assert page.locator("#progress").inner_text() == "2 of 3 decided"
    assert page.title() == "Suspects of features.zarr"
    assert faults == []


@needs_chromium
@pytest.mark.slow
def test_ten_thousand_suspects_are_not_slow(store, tmp_path, browser):
    rows = [finding(row % 192, path=f"{row}.jpg") for row in range(10_000)]
    file = tmp_path / "suspects.html"
    file.write_text(suspects_page(findings_of(rows), store, top=10), encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())
    assert page.locator("article").count() == 20
    milliseconds = page.evaluate(
        "() => { const t = performance.now(); document.getElementById('on').click();"
        " document.body.offsetHeight; return performance.now() - t; }"
    )
    assert milliseconds < 1000
    assert page.locator("#place").inner_text() == "21 to 40 of 10000"
