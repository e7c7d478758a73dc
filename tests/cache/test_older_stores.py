"""Stores of older versions, compressed and without a CRC-32C, are read and taken up."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import ZstdCodec

import cache.array
from cache import FeatureStore, StoreCorruptError


@pytest.fixture
def older(example: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example with two of three chunks, as an older version left it."""
    with monkeypatch.context() as patch:
        patch.setattr(cache.array, "_COMPRESSORS", ZstdCodec(level=1))
        example.write(chunks=[0, 1], unreadable={5: "truncated"})
    file = example.path / "ledger.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        del line["crc32c"]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return example


def test_an_older_store_is_taken_up_and_read(older: Any) -> None:
    features = older.write().read()
    np.testing.assert_array_equal(features.values, np.delete(older.values, 5, axis=0))


def test_an_older_store_stays_compressed(older: Any) -> None:
    older.write()
    array: Any = zarr.open_array(older.path / "features", mode="r")
    assert [type(codec).__name__ for codec in array.metadata.codecs] == ["BytesCodec", "ZstdCodec"]


def test_a_new_store_is_plain_and_any_row_of_its_files_stands_where_it_is_looked_for(
    example: Any,
) -> None:
    example.write()
    content = (example.path / "features" / "c" / "2" / "0").read_bytes()
    assert len(content) == 4 * 6 * 2
    np.testing.assert_array_equal(np.frombuffer(content, "<f2")[:12], example.values[8:].ravel())


def test_changed_values_of_an_older_store_are_found(older: Any) -> None:
    store = older.write()
    ledger = older.path / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace(store.ledger.chunks[0].sha256, "0" * 64))
    with pytest.raises(StoreCorruptError, match=r"chunk 0 .* has changed"):
        FeatureStore.open(older.path).read()


def test_other_zarr_readers_see_the_values(example: Any) -> None:
    example.write()
    array: Any = zarr.open_array(example.path / "features", mode="r")
    np.testing.assert_array_equal(array[:], example.values)
