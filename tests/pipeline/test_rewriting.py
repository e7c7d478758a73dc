"""A store written anew: nothing is lost or rounded, removed rows go, a stopped copy goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cache import FeatureStore, Fingerprint, StoreWriter, rows_digest
from cache.errors import InputError, StoreIncompleteError
from cache.places.place import place_of
from cache.revision import remove_rows
from pipeline.convert import rewrite_store

N, F, BAD = 32, 6, {3: "empty", 30: "no image"}


def write_store(path: Path, *, dtype: str = "int8", chunks: int | None = None) -> FeatureStore:
    """Write a store with two pools, a view, hashes of images and two rows without features."""
    ids = [f"größe {row}.jpg" for row in range(N)]
    labels = [str(row % 3) for row in range(N)]
    fingerprint = Fingerprint(
        backbone="resnet50",
        weights_sha256="0" * 64,
        transform={},
        pool="avg,max",
        dtype=dtype,
        num_features=F,
        precision="float32",
        rows_digest=rows_digest(ids, range(N)),
        versions={},
        views=1,
        augmentation={"seed": 0},
    )
    generator = np.random.default_rng(0)
    values = generator.standard_normal((N, 4, F)).astype("float32")
    images = generator.integers(0, 256, (N, 40), np.uint8)
    rows = pa.table({"id": ids, "path": ids, "label": labels, "bytes": list(range(N))})
    with StoreWriter.create_or_resume(
        path, fingerprint=fingerprint, rows=rows, root="photos", chunk_rows=8, images=True
    ) as writer:
        for number in list(writer.pending)[:chunks]:
            place = writer.chunk(number)
            bad = {row: why for row, why in BAD.items() if row in place}
            part = slice(place.start, place.stop)
            writer.write(number, values[part], bad, images[part])
    return FeatureStore.open(path)


def equal(one: FeatureStore, other: FeatureStore) -> bool:
    """Compare all that a reader can see."""
    for name in one.feature_names:
        found, expected = (FeatureStore.open(each.path, name).read() for each in (one, other))
        np.testing.assert_array_equal(found.values, expected.values)
        assert found.rows.equals(expected.rows)
    images = [each.images() for each in (one, other)]
    assert images[0] is not None
    np.testing.assert_array_equal(*images)
    return one.fingerprint == other.fingerprint and one.root == other.root


@pytest.mark.parametrize("dtype", ["int8", "bfloat16", "float16"])
def test_a_copy_has_the_same_content_to_the_last_bit(dtype: str, tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.zarr", dtype=dtype)
    store.place.write("overlays/web.parquet", b"labels")
    seen: list[tuple[int, int]] = []
    rewrite_store(store, tmp_path / "b.zarr", progress=lambda *now: seen.append(now))
    copy = FeatureStore.open(tmp_path / "b.zarr")
    assert copy.content_hash() == store.content_hash()
    assert copy.verify() == []
    assert copy.unreadable == BAD
    assert (tmp_path / "b.zarr/overlays/web.parquet").read_bytes() == b"labels"
    assert seen[-1] == (N, N)


def test_removed_rows_are_gone_from_the_files(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.zarr")
    gone = [store.table["id"][row].as_py() for row in (0, 3, 8, 9, 10, 11, 12, 13, 14, 15, 31)]
    store = remove_rows(store.path, gone)
    report = rewrite_store(store, tmp_path / "b.zarr")
    copy = FeatureStore.open(tmp_path / "b.zarr")
    assert (report.rows, report.left_out) == (N - 11, 11)
    assert equal(copy, store)
    assert copy.header.num_rows == N - 11
    assert copy.unreadable == {20: "no image"}  # 30, without the ten rows before it
    assert "removed" not in copy.table.column_names
    assert copy.verify() == []


def test_an_interrupted_copy_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, note = write_store(tmp_path / "a.zarr"), StoreWriter.note

    def stop(writer: StoreWriter, chunk: Any) -> None:
        if chunk.number == 2:
            raise KeyboardInterrupt
        note(writer, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "note", stop)
        with pytest.raises(KeyboardInterrupt):
            rewrite_store(store, tmp_path / "b.zarr")
    assert FeatureStore.open(tmp_path / "b.zarr").finished_chunks == 2
    rewrite_store(store, tmp_path / "b.zarr")
    assert FeatureStore.open(tmp_path / "b.zarr").content_hash() == store.content_hash()


def test_a_store_goes_to_a_url_and_back(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.zarr")
    rewrite_store(store, "memory://far/b.zarr")
    rewrite_store(FeatureStore.open("memory://far/b.zarr"), tmp_path / "c.zarr")
    assert FeatureStore.open(tmp_path / "c.zarr").content_hash() == store.content_hash()


def test_what_is_there_already_is_not_touched(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.zarr")
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "folder.zarr/mine").touch()
    for name, said in (("a", "a.zarr is a finished store: delete it"), ("folder", "is not a feat")):
        with pytest.raises(InputError, match=said):
            rewrite_store(store, tmp_path / f"{name}.zarr")
    with pytest.raises(StoreIncompleteError):
        rewrite_store(write_store(tmp_path / "h.zarr", chunks=2), tmp_path / "new.zarr")
    assert not place_of(tmp_path / "new.zarr").path.exists()  # type: ignore[union-attr]


def test_the_command_writes_a_store_that_can_be_trained_on(
    home: Path, store: FeatureStore, dml: Callable[..., Any]
) -> None:
    answer = dml("cache export copy.zarr")
    assert "copy.zarr: 288 rows of 24 features (float32), id, path, label, split" in answer.out
    assert FeatureStore.open("copy.zarr").content_hash() == store.content_hash()
    assert dml("train --store copy.zarr --loss prism --epochs 1 --dim 8").code == 0
    assert "is a finished store" in dml("cache export copy.zarr").refusal()
    assert "--force is for files" in dml("cache export new.zarr --force").refusal()
    assert "--features is for files" in dml("cache export new.zarr --features avg").refusal()
