"""What is written is what is read: values, rows, their order, and what is told about them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from cache import FeatureStore
from cache.layout import usual_chunk_rows


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(("num_rows", "num_chunks"), [(10, 3), (8, 2), (4, 1), (3, 1), (1, 1)])
def test_features_come_back_bit_for_bit(
    example: Any, dtype: str, num_rows: int, num_chunks: int
) -> None:
    example.dtype, example.num_rows = dtype, num_rows
    store = example.write()
    assert store.num_chunks == store.finished_chunks == num_chunks
    features = store.read()
    assert features.values.dtype == dtype
    np.testing.assert_array_equal(features.values, example.values)
    assert features.rows.equals(example.rows)


def test_float32_values_are_rounded_to_the_stores_dtype(example: Any) -> None:
    with example.writer() as writer:
        for number in list(writer.pending):
            rows = writer.chunk(number)
            writer.write(number, np.full((len(rows), 6), 1 / 3, dtype="float32"), {})
    assert set(FeatureStore.open(example.path).read().values.ravel()) == {np.float16(1 / 3)}


def test_any_zarr_reader_can_open_the_store(example: Any) -> None:
    example.write(unreadable={1: "truncated"})
    group = zarr.open_group(example.path, mode="r")
    array: Any = group["features"]
    assert array.shape == (10, 6)
    assert np.isnan(array[1]).all()
    assert not np.isnan(array[[0, 2]]).any()


def test_unreadable_rows_never_shift_their_neighbours(example: Any) -> None:
    bad = {0: "empty file", 3: "not a picture", 4: "truncated", 9: "gone"}
    example.columns["split"] = ["train"] * 5 + ["test"] * 5
    store = example.write(unreadable=bad)
    kept = [row for row in range(10) if row not in bad]
    features = store.read()
    np.testing.assert_array_equal(features.values, example.values[kept])
    assert features.rows.equals(example.rows.take(kept))
    assert store.unreadable == bad


def test_values_of_unreadable_rows_do_not_matter(example: Any) -> None:
    with example.writer() as writer:
        writer.write(2, np.array([[np.inf] * 6, [1.0] * 6]), {8: "truncated"})


def test_a_chunk_of_unreadable_rows_alone_counts(example: Any) -> None:
    store = example.write(unreadable=dict.fromkeys(range(4, 8), "gone"))
    assert store.read().rows["id"].to_pylist() == [f"{row}.jpg" for row in (0, 1, 2, 3, 8, 9)]


def test_a_store_without_a_readable_row_reads_as_empty(example: Any) -> None:
    features = example.write(unreadable=dict.fromkeys(range(10), "gone")).read()
    assert features.values.shape == (0, 6)
    assert features.rows.num_rows == 0


def test_long_and_foreign_ids_come_back(example: Any) -> None:
    example.num_rows = 4
    example.columns["id"] = ["Müsli 🥣/été.jpg", "x" * 5000, "línea\nnueva", "\u2028"]
    features = example.write(unreadable={1: "naïve\n\u2028reason 🥣"})
    assert features.read().rows["id"].to_pylist() == [example.ids[row] for row in (0, 2, 3)]
    assert features.unreadable == {1: "naïve\n\u2028reason 🥣"}


def test_a_store_under_a_folder_named_like_a_partition_has_no_extra_column(example: Any) -> None:
    example.path = example.path.parent / "split=train" / "features.zarr"
    assert example.write().rows.column_names == ["id", "path", "label"]


def test_a_relative_path_still_holds_after_the_folder_is_changed(
    example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example.write()
    monkeypatch.chdir(tmp_path)
    store = FeatureStore.open("features.zarr")
    monkeypatch.chdir(os.sep)
    assert store.path == example.path.resolve()
    np.testing.assert_array_equal(store.read().values, example.values)


def test_a_link_to_a_folder_on_another_place_can_hold_the_store(
    example: Any, tmp_path: Path
) -> None:
    (tmp_path / "big disk").mkdir()
    example.path.symlink_to(tmp_path / "big disk", target_is_directory=True)
    assert example.write().path == tmp_path / "big disk"
    assert example.path.is_symlink()


def test_nothing_is_left_beside_the_store(example: Any, tmp_path: Path) -> None:
    example.write()
    assert [path.name for path in tmp_path.iterdir()] == ["features.zarr"]


def test_the_description_can_be_printed_as_json(example: Any) -> None:
    example.num_rows = 50
    example.columns["split"] = ["train"] * 20 + ["test"] * 30
    store = example.write(chunks=range(12), unreadable=dict.fromkeys(range(30), "gone"))
    facts = json.loads(json.dumps(store.describe()))
    size = facts.pop("bytes")
    assert size == sum(len(content) for content in example.content().values()) + len(
        (example.path / "writer.lock").read_bytes()
    )
    assert facts == {
        "path": str(example.path),
        "backbone": "resnet50",
        "weights_sha256": "0123456789ab",
        "pool": "avg",
        "features": ["avg"],
        "num_features": 6,
        "dtype": "float16",
        "chunk_rows": 4,
        "precision": "float32",
        "transform": {"resize": 256, "crop": [224, 224], "mean": [0.5, 0.5, 0.5]},
        "augmentation": {},
        "rows": 50,
        "classes": 3,
        "splits": {"train": 20, "test": 30},
        "finished_chunks": 12,
        "num_chunks": 13,
        "is_complete": False,
        "num_unreadable": 30,
        "unreadable": [{"id": f"{row}.jpg", "reason": "gone"} for row in range(20)],
        "versions": {"torch": "2.6.0", "dml": "0.1.0"},
        "fingerprint": example.fingerprint.digest(),
    }


@pytest.mark.parametrize(
    ("num_rows", "expected"),
    [
        (1, 512),
        (5_421, 512),
        (65_535, 512),
        (65_536, 1024),
        (200_000, 2048),
        (262_144, 4096),
        (10**8, 4096),
    ],
)
def test_chunks_grow_with_the_number_of_images_within_limits(num_rows: int, expected: int) -> None:
    assert usual_chunk_rows(num_rows) == expected
