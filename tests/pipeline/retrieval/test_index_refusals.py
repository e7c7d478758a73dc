"""What is refused before anything is written, and what a failed write leaves behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cache.store import FeatureStore
from pipeline.backbones._backbone import Backbone
from pipeline.choices.settings import Settings
from pipeline.train import train


def entries(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


SEARCHES = {
    "": "nothing to search for: name image files, or images of the store by --id",
    "photo.jpg --top 0": "--top 0: expected a whole number of at least 1",
    "photo.jpg --threshold near": "--threshold near: expected a cosine from -1 to 1",
    "photo.jpg --threshold nan": "--threshold nan: expected a cosine from -1 to 1",
    "photo.jpg --threshold 2": "--threshold 2: expected a cosine from -1 to 1",
    "photo.jpg --known-share 0.9": "--known-share goes with --threshold auto",
    "photo.jpg --threshold auto --known-share 0": "--known-share 0.0: expected a share above 0",
    "photo.jpg --index nowhere": "no index at nowhere: build one with `dml index --out nowhere`",
    "photo.jpg --html hits.csv": "--html hits.csv: expected a name that ends in .html",
    "photo.jpg --csv .": "--csv .: expected a name that ends in .csv",
    "photo.jpg --split night": "has no split 'night': choose from test, train, val",
    "photo.jpg --device cuda:9": "--device",
    "--id nobody": "has no readable image with the id 'nobody': an id there is, for example, 't",
    "rnu photo.jpg": "there is no run, index or image at rnu: check the name",
    ".": "holds no images (.bmp, ",
}


@pytest.mark.parametrize("words", SEARCHES)
def test_what_cannot_be_searched_for_is_one_line(desk: Path, dml: Any, words: str) -> None:
    before = entries(desk)
    assert SEARCHES[words] in dml(f"search {words}").refusal()
    assert entries(desk) == before


INDICES = {
    "--split night": "has no split 'night': choose from test, train, val",
    "--kind ivf-pq": "--kind ivf-pq needs at least 10,240 rows and there are 60: use --kind flat",
    "--kind tree": "--kind",
    "--out s3://bucket/x": "is a URL: choose another --out",
    "nowhere": "no run at nowhere",
    "--out dml-out": "dml-out exists: choose another --out",
    "--out dml-out --force": "dml-out exists: choose another --out",
    "--out dml-out/latest.json/x": "cannot write into ",
}


@pytest.mark.parametrize("words", INDICES)
def test_what_cannot_be_indexed_is_one_line(desk: Path, dml: Any, words: str) -> None:
    before = entries(desk)
    assert INDICES[words] in dml(f"index {words}").refusal()
    assert entries(desk) == before


def test_an_index_is_replaced_only_by_force(desk: Path, dml: Any) -> None:
    assert dml("index --out some.index --split train").code == 0
    line = dml("index --out some.index").refusal()
    assert "some.index exists: choose another --out, or replace the index with --force" in line
    assert dml("index --out some.index --force --json").json()["rows"] == 60
    assert entries(desk) == ["dml-out", "some.index"]
    assert entries(desk / "some.index") == ["index.faiss", "index.json", "items.parquet"]


def test_a_full_disk_leaves_the_old_index_and_nothing_else(
    desk: Path, dml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dml("index --out some.index --split train")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq, "write_table", full)
    line = dml("index --out some.index --force").refusal()
    assert "cannot write the index some.index: no room" in line
    assert entries(desk) == ["dml-out", "some.index"]
    monkeypatch.undo()
    facts = json.loads((desk / "some.index" / "index.json").read_text(encoding="utf-8"))
    assert facts["splits"] == ["train"]


def test_an_index_of_another_run_is_refused(desk: Path, dml: Any, shop: Path) -> None:
    store = FeatureStore.open(shop / "photos.zarr")
    train(store, Settings(loss="proxy-anchor", dim=8, epochs=1), desk / "other")
    assert dml(f"index {shop / 'run'} --out some.index").code == 0
    line = dml("search other --index some.index --id test/red/0.png").refusal()
    assert "some.index holds embeddings of run (" in line
    assert "not those of other (" in line
    assert "some.index and --index b are two" in dml("search some.index --index b x.jpg").refusal()


def test_an_index_whose_run_was_trained_again_or_has_moved_is_refused(
    desk: Path, dml: Any, shop: Path
) -> None:
    shutil.copytree(shop / "run", desk / "first")
    dml("index first --out some.index")
    (desk / "first").rename(desk / "second")
    line = dml("search some.index --id test/red/0.png").refusal()
    assert "first, which is not there any more: say where it is: `dml search RUN --index" in line
    assert dml("search second --index some.index --id test/red/0.png").code == 0
    store = FeatureStore.open(shop / "photos.zarr")
    train(store, Settings(loss="proxy-anchor", dim=8, epochs=1), desk / "first")
    assert "holds embeddings of first" in dml("search some.index --id test/red/0.png").refusal()


def test_an_index_of_another_store_is_refused(
    desk: Path, dml: Any, shop: Path, make_store: Any
) -> None:
    dml("index --untrained --out some.index")
    make_store(desk / "other.zarr")
    line = dml("search some.index --store other.zarr --id 0000.jpg").refusal()
    assert "some.index is of a store with fingerprint " in line


def test_an_index_has_its_own_images_and_features(desk: Path, dml: Any) -> None:
    dml("index --out some.index")
    for option in ("--split val", "--untrained"):
        line = dml(f"search some.index --id x {option}").refusal()
        assert f"give {option.split()[0]} to `dml index`" in line


def test_another_format_and_damaged_files_are_refused(desk: Path, dml: Any) -> None:
    dml("index --out some.index")
    facts = desk / "some.index" / "index.json"
    content = facts.read_text(encoding="utf-8")
    search = "search some.index --id test/red/0.png"
    facts.write_text(content.replace('"format": 1', '"format": 2'), encoding="utf-8")
    assert "has format 2, this version of dml reads format 1" in dml(search).refusal()
    facts.write_text(content[:50], encoding="utf-8")
    assert "index.json is damaged" in dml(search).refusal()
    facts.write_text(content, encoding="utf-8")
    vectors = desk / "some.index" / "index.faiss"
    whole = vectors.read_bytes()
    for damaged in (whole[:-7], bytes([*whole[:-1], whole[-1] ^ 1])):
        vectors.write_bytes(damaged)
        assert "is damaged (index.faiss is not what was written)" in dml(search).refusal()
    vectors.unlink()
    assert "is damaged (no such file" in dml(search).refusal().lower()


# Backbones


def test_imported_features_are_searched_by_id_only(desk: Path, dml: Any, make_store: Any) -> None:
    make_store(desk / "other.zarr", backbone="imported:clip")
    (desk / "photo.png").write_bytes(b"")
    line = dml("search photo.png --untrained --store other.zarr").refusal()
    assert "holds features of another program (imported:clip)" in line
    assert "search for images of the store with --id ID" in line
    found = dml("search --id 0003.jpg --untrained --store other.zarr --json").json()
    assert found["queries"][0]["hits"][0]["id"] == "0003.jpg"


def test_another_backbone_than_the_stores_is_refused_and_names_the_fact(
    desk: Path, dml: Any, flat_backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(flat_backbone, weights_sha256="f" * 64)
    monkeypatch.setattr("pipeline.backbones.load_backbone", lambda *_, **__: other)
    line = dml("search photo.png").refusal()
    assert "weights_sha256 is " in line
    assert "now ffffffffffff...: name the file of its weights with --weights, or" in line
