"""Conversion: a store goes through every format and comes back the same; other features come in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from cache import FeatureStore, Fingerprint, StoreWriter, rows_digest
from cache.errors import InputError, StoreIncompleteError, StoreMismatchError
from pipeline.convert import ExportReport, ImportReport, export_features, import_features

SUFFIXES = (".npz", ".npy", ".h5", ".parquet", ".safetensors", ".pt")
N, F = 40, 6


def write_store(
    path: Path,
    *,
    dtype: str = "float16",
    unreadable: Mapping[int, str] | None = None,
    pool: str = "avg",
    views: int = 0,
    chunks: int | None = None,
) -> FeatureStore:
    """Write a store whose rows have every column that there is."""
    ids = [f"größe/{row}, 日本.jpg" for row in range(N)]
    columns = {
        "id": ids,
        "path": [f"photos/{each}" for each in ids],
        "label": [f"class {row % 3}" for row in range(N)],
        "split": ["test" if row % 4 == 0 else "train" for row in range(N)],
        "superlabel": [str(row % 2) for row in range(N)],
        "true_label": [f"class {(row + (row % 7 == 0)) % 3}" for row in range(N)],
        "bytes": list(range(N)),
    }
    fingerprint = Fingerprint(
        backbone="resnet50",
        weights_sha256="0123456789abcdef" * 4,
        transform={"resize": 256, "mean": [0.5, 0.25]},
        pool=pool,
        dtype=dtype,
        num_features=F,
        precision="bfloat16",
        rows_digest=rows_digest(ids, range(N)),
        versions={"torch": "2.6.0"},
        views=views,
        augmentation={"seed": 3} if views else {},
    )
    names = len(fingerprint.feature_names)
    values = np.random.default_rng(1).standard_normal((N, names, F)).astype("float32")
    with StoreWriter.create_or_resume(
        path, fingerprint=fingerprint, rows=pa.table(columns), root="/photos", chunk_rows=16
    ) as writer:
        for number in list(writer.pending)[:chunks]:
            rows = writer.chunk(number)
            bad = {row: why for row, why in (unreadable or {}).items() if row in rows}
            writer.write(number, values[rows.start : rows.stop], bad)
    return FeatureStore.open(path)


def back(report: ExportReport, store: Path, **options: Any) -> ImportReport:
    file, *tables = report.files
    table = tables[0] if tables else None
    return import_features(file, store, overlays=store / "overlays", labels=table, **options)


def bring(file: Path, **options: Any) -> ImportReport:
    store = file.with_suffix(".zarr")
    return import_features(file, store, **{"overlays": store / "overlays"} | options)


def features(dtype: str = "float32", rows: int = N) -> NDArray[Any]:
    return np.random.default_rng(0).standard_normal((rows, F)).astype(dtype)


def arrays(**others: Any) -> dict[str, Any]:
    ids = np.array([f"img {row}" for row in range(N)])
    return {"features": features(), "ids": ids, "labels": np.arange(N) % 4} | others


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_a_store_comes_back_the_same_through_every_format(
    suffix: str, dtype: str, tmp_path: Path
) -> None:
    before = write_store(tmp_path / "a.zarr", dtype=dtype)
    report = export_features(before, tmp_path / f"x{suffix}")
    imported = back(report, tmp_path / "b.zarr")
    after = FeatureStore.open(tmp_path / "b.zarr")
    assert (imported.remarks, imported.overlays, imported.unreadable) == ((), {}, {})
    assert after.fingerprint == before.fingerprint
    assert (after.root, after.table.equals(before.table)) == (before.root, True)
    np.testing.assert_array_equal(after.read().values, before.read().values)
    assert after.read().values.dtype == before.read().values.dtype
    # Even the second export of it is the same file.
    again = export_features(after, tmp_path / f"y{suffix}")
    for one, other in zip(report.files, again.files, strict=True):
        assert suffix in (".pt", ".npz") or one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_without_features_are_left_out(suffix: str, tmp_path: Path) -> None:
    before = write_store(tmp_path / "a.zarr", unreadable={3: "empty", 20: "no image"})
    report = export_features(before, tmp_path / f"x{suffix}")
    assert (report.rows, report.left_out) == (N - 2, 2)
    back(report, tmp_path / "b.zarr")
    after = FeatureStore.open(tmp_path / "b.zarr")
    assert after.rows.equals(before.readable_rows())
    np.testing.assert_array_equal(after.read().values, before.read().values)
    sizes = [row for row in range(N) if row not in (3, 20)]
    assert after.fingerprint.rows_digest == rows_digest(after.rows["id"].to_pylist(), sizes)
    changed = {name for name, *_ in after.fingerprint.differences(before.fingerprint)}
    assert changed == {"rows_digest"}  # it is of another list of images


@pytest.mark.parametrize(
    ("dtype", "features", "facts"),
    [("int8", "avg", {}), ("bfloat16", "avg@mean", {"pool": "avg,max", "views": 1})],
)
def test_what_is_rounded_comes_back_as_the_float32_that_it_is_read_as(
    tmp_path: Path, dtype: str, features: str, facts: dict[str, Any]
) -> None:
    before = write_store(tmp_path / "a.zarr", dtype=dtype, **facts).choose(features)
    back(export_features(before, tmp_path / "x.npz"), tmp_path / "b.zarr")
    after = FeatureStore.open(tmp_path / "b.zarr")
    assert after.fingerprint.dtype == "float32"
    np.testing.assert_array_equal(after.read().values, before.read().values)


def test_one_of_several_features_is_exported_under_its_name(tmp_path: Path) -> None:
    write_store(tmp_path / "a.zarr", pool="avg,max", views=1)
    averaged = {"seed": 3, "averaged": 1}
    for name, augmentation in (("max", {}), ("avg@1", {"seed": 3}), ("avg@mean", averaged)):
        before = FeatureStore.open(tmp_path / "a.zarr", name)
        back(export_features(before, tmp_path / f"{name}.h5"), tmp_path / f"{name}.zarr")
        after = FeatureStore.open(tmp_path / f"{name}.zarr")
        assert after.feature_names == (name,)
        assert after.fingerprint.augmentation == augmentation
        np.testing.assert_array_equal(after.read().values, before.read().values)


def change_values(file: h5py.File) -> None:
    file["features"][7, 2] += 1


def change_ids(file: h5py.File) -> None:
    file["ids"][7] = "another"


@pytest.mark.parametrize("change", [change_values, change_ids])
def test_a_changed_export_does_not_keep_its_fingerprint(
    change: Callable[[h5py.File], None], tmp_path: Path
) -> None:
    export_features(write_store(tmp_path / "a.zarr"), tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        change(file)
    report = bring(tmp_path / "x.h5")
    assert report.fingerprint.backbone == "imported:x.h5"
    assert "have changed since dml exported them" in report.remarks[0]


def test_changed_labels_of_an_export_are_taken(tmp_path: Path) -> None:
    before = write_store(tmp_path / "a.zarr")
    export_features(before, tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["labels"][0] = "mended"
    assert bring(tmp_path / "x.h5").fingerprint == before.fingerprint
    assert FeatureStore.open(tmp_path / "x.zarr").rows["label"][0].as_py() == "mended"


def test_an_incomplete_store_is_not_exported(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.zarr", chunks=1)
    with pytest.raises(StoreIncompleteError):
        export_features(store, tmp_path / "x.npz")
    assert not (tmp_path / "x.npz").exists()


# Features of other programs


def test_an_npz_becomes_a_store_that_tells_where_it_came_from(tmp_path: Path) -> None:
    splits = np.where(np.arange(N) % 2, "train", "test")
    np.savez(tmp_path / "x.npz", **arrays(splits=splits, superlabel=np.arange(N) % 2))
    seen: list[tuple[int, int]] = []
    report = bring(tmp_path / "x.npz", progress=lambda *now: seen.append(now))
    store = FeatureStore.open(tmp_path / "x.zarr")
    np.testing.assert_array_equal(store.read().values, features())
    assert store.rows.column_names == ["id", "path", "label", "split", "superlabel"]
    assert store.rows["id"].to_pylist() == store.rows["path"].to_pylist()
    assert store.rows["id"][3].as_py() == "img 3"
    assert store.rows["label"].to_pylist() == [str(row % 4) for row in range(N)]
    facts = store.fingerprint
    assert (facts.backbone, facts.pool, facts.dtype) == ("imported:x.npz", "none", "float32")
    assert facts.transform == {"array": "features"}
    assert store.root == str(tmp_path)
    assert (seen[-1], report.rows, report.remarks) == ((2 * N, 2 * N), N, ())
    assert sorted(seen) == seen


@pytest.mark.parametrize(
    ("dtype", "asked", "stored"),
    [
        ("float16", None, "float16"),
        ("float32", None, "float32"),
        ("float64", None, "float32"),
        ("uint8", None, "float32"),
        ("float32", "float16", "float16"),
        ("float64", "bfloat16", "bfloat16"),
    ],
)
def test_the_number_format_is_that_of_the_file_unless_asked_otherwise(
    dtype: str, asked: str | None, stored: str, tmp_path: Path
) -> None:
    values = features().round() % 100 if dtype == "uint8" else features()
    np.savez(tmp_path / "x.npz", **arrays(features=np.abs(values).astype(dtype)))
    report = bring(tmp_path / "x.npz", dtype=asked)
    assert (report.fingerprint.dtype, report.fingerprint.precision) == (stored, dtype)
    said = f"the features are {dtype} in the file and {stored} in the store"
    assert report.remarks == (() if dtype == stored else (said,))


def test_an_interrupted_import_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many, write = 1300, StoreWriter.write
    ids = np.arange(many)
    given = {"features": features(rows=many), "ids": ids, "labels": ids % 3}
    np.savez_compressed(tmp_path / "x.npz", **given)

    def stop(writer: StoreWriter, number: int, *others: Any) -> None:
        if number == 1:
            raise KeyboardInterrupt
        write(writer, number, *others)

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            bring(tmp_path / "x.npz")
    assert not FeatureStore.open(tmp_path / "x.zarr").is_complete
    report = bring(tmp_path / "x.npz")
    assert (report.resumed_chunks, report.already_complete) == (1, False)
    found = FeatureStore.open(tmp_path / "x.zarr").read().values
    np.testing.assert_array_equal(found, features(rows=many))
    assert bring(tmp_path / "x.npz").already_complete


def test_other_features_do_not_get_into_a_store(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **arrays())
    bring(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", **arrays(features=features() + 1))
    with pytest.raises(StoreMismatchError, match="weights_sha256 is"):
        bring(tmp_path / "x.npz")


def test_rows_that_are_not_finite_are_refused_or_left_out(tmp_path: Path) -> None:
    values = features()
    values[5, 1], values[9, 0] = np.nan, -np.inf
    np.savez(tmp_path / "x.npz", **arrays(features=values))
    with pytest.raises(InputError, match=r"features of 'img 5', row 6 of .*--skip-nonfinite"):
        bring(tmp_path / "x.npz")
    assert not (tmp_path / "x.zarr").exists()
    report = bring(tmp_path / "x.npz", skip_nonfinite=True)
    assert list(report.unreadable) == ["img 5", "img 9"]
    found = FeatureStore.open(tmp_path / "x.zarr").read().values
    np.testing.assert_array_equal(found, np.delete(values, [5, 9], axis=0))


def test_facts_that_make_no_sense_are_no_fingerprint(tmp_path: Path) -> None:
    later = {"format": 99, "fingerprint": {}, "root": "", "sha256": ""}
    for facts in ("", "no JSON", "[]", '{"format": 1}', json.dumps(later)):
        np.savez(tmp_path / "x.npz", **arrays(dml=np.array(facts)))
        assert bring(tmp_path / "x.npz").fingerprint.backbone == "imported:x.npz"
