"""dml cache import and export as a user types them: from a file to figures, and every refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray

from cache import FeatureStore

N, F, CLASSES = 120, 8, 6
IDS = np.array([f"img {row}" for row in range(N)])
LABELS = np.arange(N) % CLASSES
WEB = np.where(np.arange(N) % 5, LABELS, (LABELS + 1) % CLASSES)
SPLIT = np.where(np.arange(N) // CLASSES % 3, "train", "test")


def features() -> NDArray[np.float32]:
    generator = np.random.default_rng(0)
    centres = 4 * generator.standard_normal((CLASSES, F))
    return (centres[LABELS] + generator.standard_normal((N, F))).astype("float32")


def save(path: str | Path, **others: Any) -> None:
    arrays = {"features": features(), "ids": IDS, "labels": LABELS, "split": SPLIT} | others
    np.savez(path, **{name: values for name, values in arrays.items() if values is not None})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_features_from_elsewhere_are_trained_on_and_evaluated(here: Path, dml: Any) -> None:
    save("x.npz", web=WEB)
    imported = dml("cache import x.npz --store s.zarr")
    assert imported.code == 0, imported
    assert "s.zarr: 120 rows of 8 features, " in imported.out
    assert "(imported:x.npz, float32)" in imported.out
    line = "--noise file:s.zarr/overlays/web.parquet"
    assert line in imported.out
    assert dml("train --store s.zarr --loss prism --run r --epochs 3 --dim 8").code == 0
    assert dml("eval --json").json()["trained"]["recall@1"] > 90
    trained = dml(f"train {line} --loss prism --epochs 2 --dim 8 --json").json()
    assert trained["noise"]["realised"] == pytest.approx((WEB != LABELS)[SPLIT == "train"].mean())
    assert dml("info s.zarr --json").json()["backbone"] == "imported:x.npz"
    assert "s.zarr is complete" in dml("cache import x.npz --store s.zarr").out


def test_an_overlay_fits_every_protocol_and_follows_its_column(here: Path, dml: Any) -> None:
    save("x.npz", web=WEB)
    dml("cache import x.npz --store s.zarr")
    for protocol in ("query-gallery", "class-disjoint"):
        words = f"--protocol {protocol} --noise file:s.zarr/overlays/web.parquet"
        assert dml(f"train {words} --loss prism --epochs 1 --dim 8").code == 0
    facts = dml("noise describe s.zarr/overlays/web.parquet --json").json()
    assert (facts["rows"], len(facts["flipped"]), facts["protocol"]) == (N, N // 5, "all rows")
    assert facts["noise"] == "file:x.npz,key=web"
    mended = {"id": IDS.tolist(), "web": WEB.tolist()}
    mended["web"][0] = 5
    pq.write_table(pa.table({**mended, "labels": LABELS}), "t.parquet")
    save("x.npz")
    assert dml("cache import x.npz --labels t.parquet --store s.zarr").code == 0
    flipped = dml("noise describe s.zarr/overlays/web.parquet --json").json()["flipped"]
    assert flipped[0] == {"id": "img 0", "given_label": "0", "label": "5"}


@pytest.mark.parametrize("suffix", ["npz", "npy", "h5", "parquet", "safetensors", "pt"])
def test_what_is_exported_is_imported_by_the_line_that_is_printed(
    suffix: str, home: Path, store: FeatureStore, dml: Any
) -> None:
    answer = dml(f"cache export x.{suffix}")
    assert f"x.{suffix}: 288 rows of 24 features (float32), ids, paths, labels, split" in answer.out
    line = answer.out.splitlines()[-1].partition(": dml ")[2]
    assert dml(line).code == 0
    found = FeatureStore.open(f"x.{suffix}".partition(".")[0] + ".zarr")
    assert found.content_hash() == store.content_hash() or found.chunk_rows != store.chunk_rows
    assert found.fingerprint == store.fingerprint
    np.testing.assert_array_equal(found.read().values, store.read().values)
    assert "exists: choose another name, or overwrite" in dml(f"cache export x.{suffix}").refusal()
    exported = dml(f"cache export x.{suffix} --force --json").json()
    assert (exported["rows"], exported["files"][0]) == (288, f"x.{suffix}")


def test_arrays_have_the_names_that_are_given(here: Path, dml: Any) -> None:
    with h5py.File("x.h5", "w") as file:
        file["net/emb"], file["meta/y"], file["meta/key"] = features(), LABELS, IDS.tolist()
        file["meta/part"] = SPLIT.tolist()
    names = "--features-name net/emb --labels-name meta/y --ids-name meta/key"
    assert dml(f"cache import x.h5 {names} --split-name meta/part --store s.zarr").code == 0
    rows = FeatureStore.open("s.zarr").rows
    assert rows["id"].to_pylist() == IDS.tolist()
    assert rows["split"].to_pylist() == SPLIT.tolist()


def test_a_table_gives_labels_by_id_or_in_order(here: Path, dml: Any) -> None:
    np.save("x.npy", features())
    lines = [f"{IDS[row]},{LABELS[row]},{SPLIT[row]}" for row in range(N)]
    Path("t.csv").write_text("\n".join(["id,label,split", *lines]))
    assert dml("cache import x.npy --labels t.csv --store ordered.zarr").code == 0
    Path("t.csv").write_text("\n".join(["id,label,split", "extra,1,train", *reversed(lines)]))
    save("x.npz", labels=None, split=None)
    assert dml("cache import x.npz --labels t.csv --store joined.zarr").code == 0
    ordered, joined = FeatureStore.open("ordered.zarr"), FeatureStore.open("joined.zarr")
    assert ordered.rows.equals(joined.rows)
    np.testing.assert_array_equal(ordered.read().values, joined.read().values)


def test_rows_are_numbered_when_asked_for(here: Path, dml: Any) -> None:
    torch.save({"features": torch.from_numpy(features()), "labels": LABELS.tolist()}, "x.pt")
    assert "take row numbers with --ids-from rows" in dml("cache import x.pt --store s").refusal()
    assert dml("cache import x.pt --ids-from rows --store s").code == 0
    assert FeatureStore.open("s").rows["id"].to_pylist() == [str(row) for row in range(N)]


def test_what_is_no_label_is_left_aside_with_its_reason(here: Path, dml: Any) -> None:
    save(
        "x.npz",
        score=np.linspace(0, 1, N),
        boxes=np.zeros((N, 4)),
        name=np.array([f"name {row}" for row in range(N)]),
        gaps=np.array(["", "a"] * (N // 2)),
        short=np.arange(5),
        objects=np.array([None] * N),
    )
    lines = dml("cache import x.npz --store s.zarr").out.splitlines()
    assert [line for line in lines if line.startswith("left aside")] == [
        "left aside: score float64 (120,) is no column of labels",
        "left aside: boxes float64 (120, 4) is no column of labels",
        "left aside: name has another value in each row, so it is no label",
        "left aside: gaps has an empty cell in row 1",
        "left aside: short int64 (5,) is no column of labels",
        "left aside: objects object (120,) is no column of labels",
    ]
    assert not Path("s.zarr/overlays").exists()


def with_value(value: float) -> NDArray[Any]:
    values = features().astype("float64")
    values[7, 3] = value
    return values


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no features": ({"features": None}, "has no array 'features', it holds ids text (120,), labels "
    "int64 (120,), split text (120,): say which are the features with --features-name"),
    "one axis": ({"features": np.zeros(N)}, "features of x.npz is float64 (120,), expected a row"),
    "three axes": ({"features": np.zeros((N, 2, 2))}, "features of x.npz is float64 (120, 2, 2)"),
    "no rows": ({"features": np.zeros((0, 4))}, "features of x.npz is float64 (0, 4), expected"),
    "no columns": ({"features": np.zeros((N, 0))}, "features of x.npz is float64 (120, 0)"),
    "texts": ({"features": np.full((N, 2), "a")}, "features of x.npz is text (120, 2), expected"),
    "objects": ({"features": np.full((N, 2), None)}, "features of x.npz is object (120, 2)"),
    "complex": ({"features": np.zeros((N, 2), complex)}, "features of x.npz is complex128"),
    "integers": ({"features": np.zeros((N, 2), int)}, "the features are int64, expected one of"),
    "not a number": ({"features": with_value(np.nan)}, "the features of 'img 7', row 8 of x.npz, "
    "are not finite numbers: mend them, or leave such rows out with --skip-nonfinite"),
    "too large": ({"features": with_value(1e39)}, "a feature in x.npz is 1e+39, too large for "
    "float32: scale the features"),
    "no ids": ({"ids": None}, "there are no ids: x.npz holds features float32 (120, 8), labels "),
    "no labels": ({"labels": None}, "there are no labels: x.npz holds features float32 (120, 8), "),
    "both names": ({"label": LABELS}, "holds both 'labels' and 'label': say which with --labels-n"),
    "both splits": ({"splits": SPLIT}, "holds both 'split' and 'splits': say which with --split-n"),
    "other length": ({"labels": LABELS[:-1]}, "labels of x.npz is int64 (119,), the features have "
    "120 rows: expected one cell for each of them"),
    "doubled ids": ({"ids": IDS[np.arange(N) // 2]}, "rows 1 and 2 of x.npz have the same id 'img "
    "0': expected another one in each row, or take row numbers with --ids-from rows"),
    "an empty id": ({"ids": np.array(["", *IDS[1:]])}, "row 1 has an empty id"),
    "object labels": ({"labels": np.array([None] * N)}, "labels of x.npz holds Python objects"),
    "fractions": ({"labels": LABELS + 0.5}, "row 1 of labels in x.npz is 0.5, expected a text or"),
    "one class": ({"labels": np.zeros(N)}, "all 120 images have the label '0'"),
    "odd splits": ({"split": np.full(N, "eval")}, "row 1 has the split 'eval': expected one of "),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_line_before_anything_is_written(
    name: str, here: Path, dml: Any
) -> None:
    changes, said = BAD[name]
    save("x.npz", **changes)
    line = dml("cache import x.npz --store s.zarr").refusal().replace(f"{here}/", "")
    assert said in line
    assert sorted(each.name for each in here.iterdir()) == ["x.npz"]


WORDS: dict[str, str] = {
    "no.npz --store s": "there is no file no.npz: expected ",
    "t.csv --store s": "t.csv has no array 'features', it holds id text (2,), label text (2,)",
    "x.doc --store s": "x.doc is not a kind of file to read: expected .csv, .h5, .hdf5, .npy, .npz",
    "x.npz --store s --labels-name y": "there is no array 'y': x.npz holds features ",
    "x.npz --store s --ids-name y": "there is no array 'y': x.npz holds features ",
    "x.npz --store s --split-name y": "there is no array 'y': x.npz holds features ",
    "x.npz --store s --features-name y": "x.npz has no array 'y', it holds features float32",
    "x.npz --store s --labels t.csv": "t.csv has no row for the id 'img 1' of x.npz: expected one",
    "x.npz --store s --labels no.csv": "there is no file no.csv",
    "x.npy --store s --labels t.csv": "id of t.csv is text (2,), the features have 120 rows",
    "x.npy --store s": "there are no ids: x.npy holds features float32 (120, 8): say which they",
    "x.npy --store s --ids-from rows": "or give a table with --labels TABLE",
    "x.npz --store s --ids-from name": "'name' is not one of 'rows'",
    "x.npz --store s --dtype float8": "'float8' is not one of 'float16', 'float32', 'bfloat16'",
    "large.npz --store s --dtype float16": "is 7e+04, too large for float16: give --dtype float32",
    "x.npz --store x.npy": "is not a feature store: choose another --store",
    "x.npz": "Missing option '--store'",
}  # fmt: skip


@pytest.mark.parametrize("words", WORDS)
def test_import_refuses_what_it_cannot_use(words: str, here: Path, dml: Any) -> None:
    save("x.npz")
    save("large.npz", features=with_value(7e4))
    np.save("x.npy", features())
    Path("t.csv").write_text("id,label\nimg 0,a\nimg 2,b\n")
    before = sorted(here.iterdir())
    assert WORDS[words] in dml(f"cache import {words}").refusal()
    assert sorted(here.iterdir()) == before


def test_export_refuses_what_it_cannot_write(
    home: Path, dml: Any, make_store: Callable[..., FeatureStore]
) -> None:
    make_store(home / "half.zarr", chunks=1)
    for words, said in {
        "x.csv": "x.csv is not a kind of file to write: expected ",
        "dml-out": "dml-out is not a kind of file to write",
        "x.npz --store half.zarr": "half.zarr is not complete",
        "x.npz --store nowhere": "there is no feature store at",
        "x.npz --features max": "has no features 'max': choose from avg",
    }.items():
        assert said in dml(f"cache export {words}").refusal()
    assert not list(home.glob("*x.npz*"))
