"""Places and files that are not, or no longer, a store: told in one line, and left untouched."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cache import (
    FeatureStore,
    InputError,
    StoreCorruptError,
    StoreMismatchError,
    StoreNotFoundError,
)


def test_a_missing_store_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match=r"none.zarr: run `dml extract` first"):
        FeatureStore.open(tmp_path / "none.zarr")


def a_file(path: Path) -> None:
    path.write_text("mine")


def a_folder_of_photos(path: Path) -> None:
    path.mkdir()
    (path / "photo.jpg").write_text("mine")


def a_zarr_group_of_others(path: Path) -> None:
    path.mkdir()
    (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')


@pytest.mark.parametrize("make", [a_file, a_folder_of_photos, a_zarr_group_of_others])
def test_what_is_not_a_store_is_refused_and_untouched(
    example: Any, make: Callable[[Path], None]
) -> None:
    make(example.path)
    before = example.content(), [path.name for path in example.path.parent.iterdir()]
    for attempt in (example.writer, lambda: FeatureStore.open(example.path)):
        with pytest.raises(InputError, match="is not a feature store: choose another --store"):
            attempt()
    assert (example.content(), [path.name for path in example.path.parent.iterdir()]) == before


def test_an_empty_folder_can_become_a_store(example: Any) -> None:
    example.path.mkdir()
    assert example.write().is_complete


def test_a_place_below_a_file_is_refused(example: Any) -> None:
    example.path.write_text("mine")
    example.path /= "features.zarr"
    with pytest.raises(InputError, match=r"cannot write to .*; choose another --store"):
        example.writer()


def test_a_name_that_is_too_long_is_refused(example: Any) -> None:
    example.path = example.path.with_name("x" * 300)
    with pytest.raises(InputError, match="cannot write to"):
        example.writer()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(example: Any, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match=r"cannot write to .* permission denied"):
            example.writer()
    finally:
        tmp_path.chmod(0o700)


def test_a_read_only_disk_is_refused(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(InputError, match="read-only file system; choose another --store"):
        example.writer()


def test_a_store_of_a_newer_format_is_refused(example: Any) -> None:
    example.write()
    header = json.loads((example.path / "zarr.json").read_text())
    header["attributes"]["dml"]["format"] = 3
    (example.path / "zarr.json").write_text(json.dumps(header))
    with pytest.raises(StoreMismatchError, match=r"format 3.*newer dml"):
        FeatureStore.open(example.path)


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


@pytest.mark.parametrize("damage", [flip_a_byte, truncate, Path.unlink])
def test_a_damaged_chunk_is_found_and_only_it_is_made_anew(
    example: Any, damage: Callable[[Path], None]
) -> None:
    store = example.write()
    damage(example.path / "features" / "c" / "1" / "0")
    with pytest.raises(StoreCorruptError, match=r"chunk 1 of .*dml extract.*--repair"):
        store.read()
    assert [number for number, _ in store.verify()] == [1]
    with example.writer(repair=True) as writer:
        assert (writer.pending, writer.changes.damaged) == ([1], 1)
    np.testing.assert_array_equal(example.write().read().values, example.values)


def test_a_missing_chunk_is_found_without_verifying_too(example: Any) -> None:
    store = example.write()
    (example.path / "features" / "c" / "2" / "0").unlink()
    with pytest.raises(StoreCorruptError, match=r"chunk 2 .* is missing"):
        store.read(verify=False)


def test_values_that_changed_are_found_unless_verifying_is_off(example: Any) -> None:
    store = example.write()
    ledger = example.path / "ledger.jsonl"
    ledger.write_text(
        ledger.read_text().replace(store.ledger.chunks[0].crc32c["features"], "0" * 8)
    )
    store = FeatureStore.open(example.path)
    with pytest.raises(StoreCorruptError, match=r"chunk 0 .* has changed"):
        store.read()
    np.testing.assert_array_equal(store.read(verify=False).values, example.values)


@pytest.mark.parametrize("name", ["rows.parquet", "ledger.jsonl", "features/zarr.json"])
def test_a_missing_file_is_named(example: Any, name: str) -> None:
    example.write()
    (example.path / name).unlink()
    with pytest.raises(StoreCorruptError, match=name.split("/")[0]):
        FeatureStore.open(example.path).read()
    with pytest.raises(StoreCorruptError, match=name.split("/")[0]):
        example.writer()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("zarr.json", b"{"),
        ("zarr.json", b'{"attributes": {"dml": {"format": 1}}}'),
        ("zarr.json", b'{"attributes": {"dml": 5}}'),
        ("rows.parquet", b"PAR1"),
        ("ledger.jsonl", b"nonsense\n"),
        ("ledger.jsonl", b"\xff\n"),
        ("ledger.jsonl", b'{"chunk": 9, "rows": 4, "sha256": "", "unreadable": {}}\n'),
        ("ledger.jsonl", b'{"chunk": 0, "rows": 5, "sha256": "", "unreadable": {}}\n'),
        ("ledger.jsonl", b'{"chunk": 0, "rows": 4, "sha256": "", "unreadable": {"4": ""}}\n'),
        ("features/zarr.json", b"{"),
        ("features/zarr.json", b"{}"),
    ],
)
def test_a_damaged_file_is_named(example: Any, name: str, content: bytes) -> None:
    example.write()
    (example.path / name).write_bytes(content)
    with pytest.raises(StoreCorruptError, match=f"{name.split('/')[0]} of .*dml extract"):
        FeatureStore.open(example.path).read()


@pytest.mark.parametrize("name", ["zarr.json", "ledger.jsonl", "rows.parquet"])
def test_a_sound_file_that_cannot_be_read_just_now_is_not_called_damaged(
    example: Any, name: str
) -> None:
    example.write()
    (example.path / name).unlink()
    (example.path / name).mkdir()
    with pytest.raises(InputError, match=rf"cannot read {name} of .*: is a directory"):
        FeatureStore.open(example.path)


def test_an_array_of_another_form_is_refused(example: Any) -> None:
    example.write()
    file = example.path / "features" / "zarr.json"
    file.write_text(file.read_text().replace("float16", "float32"))
    with pytest.raises(StoreCorruptError, match="features of"):
        FeatureStore.open(example.path).read()


def test_a_table_with_too_few_rows_is_refused(example: Any) -> None:
    example.write()
    example.num_rows = 9
    pa.parquet.write_table(example.rows, example.path / "rows.parquet")
    with pytest.raises(StoreCorruptError, match=r"rows.parquet"):
        FeatureStore.open(example.path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a"], "path": ["a"]}, "no column 'label'"),
        ({"id": ["a"], "path": ["a"], "label": ["a"], "colour": ["a"]}, "'colour'"),
        ({"id": ["a", "a"], "path": ["a", "b"], "label": ["a", "b"]}, "'a' occurs twice"),
        ({"id": ["a"], "path": ["a"], "label": pa.array([None], pa.string())}, "empty cells"),
        ({"id": pa.array([], pa.string()), "path": [], "label": []}, "no rows"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(
    example: Any, columns: dict[str, list[str]], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(example), "rows", pa.table(columns))
    with pytest.raises(InputError, match=message):
        example.writer()
    assert not example.path.exists()


def test_chunks_need_at_least_one_row(example: Any) -> None:
    example.chunk_rows = 0
    with pytest.raises(InputError, match="chunk_rows is 0"):
        example.writer()
