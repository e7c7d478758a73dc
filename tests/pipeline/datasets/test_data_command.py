"""`dml data`: the table it writes, what it says, what it refuses, and extraction from its table."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from cache import FeatureStore
from pipeline.datasets import load_manifest
from pipeline.datasets.official import sop
from pipeline.datasets.reading import read_data_set

PATHS = [
    f"{kind}_final/{item}_{view}.JPG" for kind in ("cup", "sofa") for item in "12" for view in "ab"
]


@pytest.fixture
def products(tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight products in the layout of Stanford Online Products, two views each."""
    header = "image_id class_id super_class_id path\n"
    lines = [f"{at} {1 + at // 2} {1 + at // 4} {path}\n" for at, path in enumerate(PATHS)]
    files = {
        "Ebay_train.txt": header + "".join(lines[:4]),
        "Ebay_test.txt": header + "".join(lines[4:]),
    }
    monkeypatch.chdir(tmp_path)
    return Path(make(tmp_path / "files" / "Stanford_Online_Products", files, PATHS)).parent


def refusal(answer: Any) -> str:
    assert answer.code == 2, answer
    assert answer.out == ""
    return str(answer.err.splitlines()[-1])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_table_is_the_manifest(products: Path, dml: Any, suffix: str) -> None:
    file = Path("tables") / f"sop{suffix}"
    assert dml(f"data sop --root {products} --out {file}").code == 0
    manifest, expected = load_manifest(file), read_data_set("sop", products).manifest
    for name in ("ids", "labels", "splits", "superlabels", "true_labels"):
        assert getattr(manifest, name) == getattr(expected, name)
    places = [manifest.root / path for path in manifest.paths]
    assert places == [expected.root / path for path in expected.paths]
    assert all(place.is_file() for place in places)
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_paths_below_the_table_are_relative(products: Path, dml: Any) -> None:
    assert dml(f"data sop --root {products}").code == 0
    with Path("sop.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert rows[0] == {
        "id": PATHS[0],
        "path": f"files/Stanford_Online_Products/{PATHS[0]}",
        "label": "1",
        "split": "train",
        "superlabel": "cup",
    }


def test_it_says_what_it_found_and_what_is_not_as_published(products: Path, dml: Any) -> None:
    lines = dml(f"data sop --root {products}").out.splitlines()
    assert lines[:3] == [
        "sop.csv: 8 images of 4 classes",
        "  train: 4 images of 2 classes",
        "  test: 4 images of 2 classes",
    ]
    assert "wrong count: train images: expected 59,551, found 4" in lines
    assert "wrong count: test classes: expected 11,316, found 2" in lines
    assert "1 of 6 counts are as published; digest" in lines[-2]
    assert lines[-1] == "next: dml extract sop.csv"


def test_its_json_records_every_count(products: Path, dml: Any) -> None:
    found = dml(f"data sop --root {products} --json").json()
    assert (found["rows"], found["classes"], found["superlabels"]) == (8, 4, 2)
    assert found["splits"]["test"] == {"images": 4, "classes": 2}
    assert found["mismatches"] == 5
    assert found["counts"][0] == {
        "what": "train images",
        "expected": 59551,
        "found": 4,
        "is_right": False,
    }
    assert len(found["digest"]) == 64


def test_strict_refuses_wrong_counts_in_one_line_and_writes_nothing(
    products: Path, dml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = refusal(dml(f"data sop --root {products} --strict"))
    assert line.startswith("dml: sop is not as published: train images: expected 59,551, found 4; ")
    assert not Path("sop.csv").exists()
    monkeypatch.setattr(sop, "EXPECTED", {"train": (4, 2), "test": (4, 2)})
    assert "categories: expected 12, found 2" in refusal(
        dml(f"data sop --root {products} --strict")
    )


def test_another_file_is_only_overwritten_with_force(products: Path, dml: Any) -> None:
    Path("sop.csv").write_text("mine")
    line = refusal(dml(f"data sop --root {products}"))
    assert line == "dml: sop.csv exists: choose another --out, or overwrite it with --force"
    assert Path("sop.csv").read_text() == "mine"
    assert dml(f"data sop --root {products} --force").code == 0
    assert len(load_manifest(Path("sop.csv"))) == 8


REFUSED = {
    "sop": "no Ebay_train.txt in",
    "sopp --root files": "unknown data set 'sopp': did you mean 'sop'?",
    "sop --root nowhere": "nowhere does not exist: expected the folder of sop",
    "sop --root files --out sop.txt": "expected a name that ends in .csv or .parquet",
    "sop --root files --out files": "expected a name that ends in .csv or .parquet",
    "sop --root files --set x": "--set 'x': expected key=value",
    "sop --root files --set x=1": "unknown option of sop 'x': there is nothing to choose from",
    "sop --root files --out sop.zip/a.csv": "cannot write sop.zip/a.csv: ",
    "sop --root sop.zip": "sop.zip is no whole zip archive",
}


@pytest.mark.parametrize("words", REFUSED)
def test_data_refuses(words: str, products: Path, dml: Any) -> None:
    Path("empty").mkdir()
    Path("sop.zip").write_bytes(b"PK\x03\x04 cut off")
    before = sorted(Path().rglob("*"))
    root = "" if "--root" in words else "--root empty"
    assert REFUSED[words] in refusal(dml(f"data {words} {root}"))
    assert sorted(Path().rglob("*")) == before


def test_a_set_without_one_of_its_images_is_refused(products: Path, dml: Any) -> None:
    for path in PATHS:
        (products / "Stanford_Online_Products" / path).unlink()
    line = refusal(dml(f"data sop --root {products}"))
    assert "none of the 8 listed images lies in" in line


def test_features_of_a_packed_set_are_those_of_its_files(
    products: Path, dml: Any, flat_backbone: Any, pack: Any
) -> None:
    pack(products, Path("sop.zip"))
    pack(products, Path("sop.tar"))
    stores = {}
    for root in ("files", "sop.zip", "sop.tar"):
        dml(f"data sop --root {root} --force")
        answer = dml(f"extract sop.csv --store {root}.zarr --workers 2 --json")
        assert answer.code == 0, answer.err
        assert answer.json()["readable"] == 8
        stores[root] = FeatureStore.open(Path(f"{root}.zarr"))
    plain = stores["files"]
    for packed in (stores["sop.zip"], stores["sop.tar"]):
        assert (packed.read().values == plain.read().values).all()
        assert packed.rows["id"].to_pylist() == plain.rows["id"].to_pylist()
        assert packed.fingerprint.rows_digest == plain.fingerprint.rows_digest
    again = dml("extract sop.csv --store sop.tar.zarr").out
    assert "is complete" in again
    Path("sop.tar").write_bytes(Path("sop.tar").read_bytes()[:2000])
    assert "sop.tar is no whole tar archive" in refusal(dml("extract sop.csv --store new.zarr"))


def test_list_names_every_data_set(dml: Any) -> None:
    names = [entry["name"] for entry in dml("list datasets --json").json()]
    assert {"cub", "cars196", "sop", "in-shop", "cars-98n", "food-101n", "webvision"} < set(names)
    assert {"clothing1m", "cifar10", "cifar100", "hf"} < set(names)
