"""`dml index` and `dml search` as a user types them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


def hits(answer: Any, at: int = 0) -> list[tuple[str, float]]:
    """The ids and cosines of one query."""
    found = answer.json()["queries"][at]["hits"]
    return [(hit["id"], hit["cosine"]) for hit in found]


@pytest.fixture
def red(shop: Path) -> str:
    return str(shop / "photos" / "test" / "red" / "1.png")


@pytest.fixture
def strange(desk: Path) -> str:
    """A picture like none of the store."""
    pixels = np.random.default_rng(1).integers(0, 2, (16, 16, 3)) * 255
    Image.fromarray(pixels.astype(np.uint8)).save(desk / "strange.png")
    return "strange.png"


def test_an_image_of_the_store_finds_itself_first_and_then_its_colour(
    desk: Path, red: str, dml: Any
) -> None:
    found = dml(f"search {red} --top 5 --json").json()
    assert (found["space"], found["kind"], found["rows"]) == ("run", "exact", 60)
    (query,) = found["queries"]
    assert query["hits"][0]["id"] == "test/red/1.png"
    assert query["hits"][0]["cosine"] == pytest.approx(1, abs=1e-5)
    assert [hit["label"] for hit in query["hits"]] == ["red"] * 5
    assert (query["label"], query["share"], query["is_match"]) == ("red", 1.0, True)


def test_an_index_gives_what_the_search_without_one_gives(desk: Path, red: str, dml: Any) -> None:
    made = dml("index --json").json()
    assert (made["kind"], made["rows"], made["recall@10"]) == ("flat", 60, 1.0)
    assert made["path"] == "dml-out/indices/run"
    assert hits(dml(f"search {made['path']} {red} --json")) == hits(dml(f"search {red} --json"))
    assert dml(f"search --index {made['path']} {red} --json").json()["index"] == made["path"]


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_other_kinds_find_the_same_among_few_images(
    desk: Path, red: str, dml: Any, kind: str
) -> None:
    made = dml(f"index --kind {kind} --out some.index")
    assert f"60 images of run, {kind}, " in made.out
    assert "recall@10 " in made.out
    by_index = dml(f"search some.index {red} --json")
    assert by_index.json()["kind"] == kind
    assert hits(by_index)[:3] == hits(dml(f"search {red} --json"))[:3]


def test_the_lines_name_label_votes_cosines_and_ids(desk: Path, red: str, dml: Any) -> None:
    answer = dml(f"search {red} --top 3")
    first, *lines = answer.out.splitlines()
    assert first == f"{red}: red (3 of 3)"
    assert lines[0].split() == ["1", lines[0].split()[1], "red", "test/red/1.png"]
    assert answer.err.splitlines()[-1] == "run: compared with all 60 images"


def test_an_id_searches_by_the_stored_features(desk: Path, red: str, dml: Any) -> None:
    by_id, by_file = dml("search --id test/red/1.png --json"), dml(f"search {red} --json")
    assert [each for each, _ in hits(by_id)] == [each for each, _ in hits(by_file)]
    both = dml(f"search {red} --id test/blue/0.png --json").json()["queries"]
    assert [query["label"] for query in both] == ["blue", "red"]


@pytest.mark.parametrize("way", ["--id test/red/1.png", "FILE"])
def test_exclude_self_takes_out_the_own_file_alone(
    desk: Path, red: str, dml: Any, way: str
) -> None:
    words = way.replace("FILE", red)
    with_self = hits(dml(f"search {words} --top 6 --json"))
    without = hits(dml(f"search {words} --top 5 --exclude-self --json"))
    assert with_self[0][0] == "test/red/1.png"
    assert without == with_self[1:]


def test_a_split_limits_what_is_searched(desk: Path, red: str, dml: Any) -> None:
    found = dml(f"search {red} --split train,val --json").json()
    assert found["rows"] == 44
    assert all(not hit["id"].startswith("test/") for hit in found["queries"][0]["hits"])
    assert dml("index --split val --json").json()["splits"] == ["val"]


def test_the_untrained_features_have_an_index_of_their_own(
    desk: Path, red: str, dml: Any, shop: Path
) -> None:
    made = dml("index --untrained --json").json()
    assert (made["space"], made["embedding_dim"], made["run"]) == ("untrained", 8, None)
    by_index = dml(f"search {made['path']} {red} --json")
    assert hits(by_index) == hits(dml(f"search {red} --untrained --json"))
    assert hits(by_index) != hits(dml(f"search {red} --json"))
    line = dml(f"search {shop / 'run'} --index {made['path']} {red}").refusal()
    assert "holds embeddings of untrained" in line


def test_folders_lists_and_archives_are_searched_for(
    desk: Path, shop: Path, red: str, dml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shop / "photos" / "val"
    assert len(dml(f"search {folder} --json").json()["queries"]) == 12
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{red}\n\n{folder / 'blue' / '0.png'}\n"))
    labels = [query["label"] for query in dml("search - --json").json()["queries"]]
    assert labels == ["red", "blue"]


# Thresholds


def test_a_threshold_says_no_match_and_the_rest_does_not_vote(
    desk: Path, red: str, strange: str, dml: Any
) -> None:
    found = dml(f"search {red} {strange} --threshold 0.99 --json").json()
    known, unknown = found["queries"]
    assert (known["label"], unknown["label"], unknown["is_match"]) == ("red", None, False)
    assert all(hit["is_match"] == (hit["cosine"] >= 0.99) for hit in known["hits"])
    answer = dml(f"search {strange} --threshold 0.99")
    assert answer.out.splitlines()[0].startswith("strange.png: no match (the nearest has ")
    assert "1 of 1 without a match; threshold 0.9900" in answer.err


@pytest.mark.parametrize("way", ["run", "index"])
def test_an_automatic_threshold_lets_the_stated_share_of_val_images_pass(
    desk: Path, dml: Any, shop: Path, way: str
) -> None:
    source = dml("index --json").json()["path"] if way == "index" else str(shop / "run")
    folder = shop / "photos" / "val"
    found = dml(f"search {source} {folder} --threshold auto --known-share 0.75 --json").json()
    limit = found["threshold"]
    assert (limit["learnt_from"], limit["images"], limit["share"]) == ("val", 12, 0.75)
    others = dml(f"search {folder} --split train,test --top 1 --json").json()["queries"]
    best = [query["hits"][0]["cosine"] for query in others]
    passing = [cosine for cosine in best if cosine >= limit["cosine"] - 1e-5]
    assert len(passing) >= 9
    assert limit["cosine"] == pytest.approx(sorted(best)[2], abs=1e-4)


# Images that cannot be read


def test_broken_and_missing_images_are_listed_and_the_others_searched_for(
    desk: Path, red: str, dml: Any
) -> None:
    (desk / "broken.png").write_bytes(b"no picture")
    answer = dml(f"search broken.png {red} gone.png --json")
    assert answer.code == 0
    found = answer.json()
    assert [query["query"] for query in found["queries"]] == [red]
    assert found["unreadable"] == {
        "broken.png": "not a known image format",
        "gone.png": "file not found",
    }
    assert "; 2 could not be read" in answer.err
    assert "broken.png: cannot be read: not a known" in dml(f"search broken.png {red}").out


def test_if_no_image_can_be_read_the_command_fails(desk: Path, dml: Any) -> None:
    line = dml("search gone.png").refusal()
    assert "none of the 1 images can be read (gone.png: file not found)" in line


# Files


def test_a_table_has_a_line_for_each_hit(desk: Path, red: str, dml: Any) -> None:
    assert dml(f"search {red} --top 4 --csv hits.csv").out.splitlines()[-1] == "hits.csv"
    lines = list(csv.DictReader((desk / "hits.csv").read_text(encoding="utf-8").splitlines()))
    assert [line["rank"] for line in lines] == ["1", "2", "3", "4"]
    assert {line["query_label"] for line in lines} == {"red"}
    assert lines[0]["id"] == "test/red/1.png"
    assert dml(f"search {red} --csv hits.csv").refusal().startswith("dml: hits.csv exists")
    assert dml(f"search {red} --csv hits.csv --force").code == 0


def test_the_page_holds_all_pictures_and_nothing_from_elsewhere(
    desk: Path, red: str, dml: Any, strange: str
) -> None:
    dml(f"search {red} {strange} gone.png --top 3 --threshold 0.99 --html found.html")
    page = (desk / "found.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg;base64,') == 8
    assert page.count("<img ") == 8
    assert "http" not in page.replace("http-equiv", "")
    assert "red (" in page
    assert "no match (the nearest has" in page
    assert "gone.png" in page


def test_hostile_names_are_text_on_the_page_and_in_the_terminal(
    desk: Path, dml: Any, shop: Path, tmp_path: Path
) -> None:
    name = "<img src=x onerror=alert(1)>&\x1b[31m.png"
    (tmp_path / name).write_bytes((shop / "photos/val/red/0.png").read_bytes())
    answer = dml("search --html p.html --top 2", str(tmp_path / name))
    assert answer.code == 0
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;&amp;" in page
    assert "\x1b" not in answer.out


def test_what_is_printed_as_json_says_where_the_files_are(desk: Path, red: str, dml: Any) -> None:
    found = json.loads(dml(f"search {red} --json --html a.html --csv b.csv").out)
    assert (found["html"], found["csv"]) == ("a.html", "b.csv")
