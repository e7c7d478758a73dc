"""A store can be left at any moment and taken up again, by the same facts only."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import (
    FeatureStore,
    InputError,
    StoreBusyError,
    StoreIncompleteError,
    StoreMismatchError,
    StoreWriter,
)
from cache.places.place import LocalPlace

OTHER: dict[str, Any] = {
    "backbone": "efficientnet_lite0",
    "weights_sha256": "f" * 64,
    "transform": {"resize": 224, "crop": (224, 224), "mean": [0.5, 0.5, 0.5]},
    "pool": "max",
    "dtype": "float32",
    "num_features": 7,
    "precision": "bfloat16",
    "rows_digest": "0" * 64,
    "versions": {"torch": "2.7.0", "dml": "0.1.0"},
    "views": 2,
    "augmentation": {"scale": [0.5, 1.0], "seed": 0},
    "code": 9,
}


@pytest.fixture
def whole(example: Any, tmp_path: Path) -> Any:
    """The same store, made without a break."""
    other = type(example)(tmp_path / "whole" / "features.zarr")
    other.write(unreadable={5: "truncated"})
    return other


def data_without_a_line(example: Any) -> None:
    with example.writer() as writer:
        writer.files.write(1, np.ones((4, 6), "float16"), {})


def half_a_chunk_file(example: Any) -> None:
    folder = example.path / "features" / "c" / "1"
    folder.mkdir()
    (folder / "0").write_bytes(b"half")
    (folder / ".0.0123.part").write_bytes(b"half")


def a_torn_line(example: Any) -> None:
    with open(example.path / "ledger.jsonl", "ab") as ledger:
        ledger.write(b'{"chunk": 1, "rows": 4, "sha')


def a_line_without_its_end(example: Any) -> None:
    data_without_a_line(example)
    with open(example.path / "ledger.jsonl", "ab") as ledger:
        ledger.write(b'{"chunk": 1, "rows": 4, "sha256": "", "unreadable": {}}')


@pytest.mark.parametrize(
    "accident",
    [data_without_a_line, half_a_chunk_file, a_torn_line, a_line_without_its_end],
)
def test_an_interrupted_and_resumed_store_equals_an_uninterrupted_one(
    example: Any, whole: Any, accident: Callable[[Any], None]
) -> None:
    assert example.write(chunks=[0]).finished_chunks == 1
    accident(example)
    store = FeatureStore.open(example.path)
    assert (store.finished_chunks, store.is_complete) == (1, False)
    with example.writer() as writer:
        assert writer.pending == [1, 2]
    example.write(unreadable={5: "truncated"})
    assert example.content() == whole.content()


def test_running_again_on_a_complete_store_changes_nothing(example: Any) -> None:
    example.write()
    before = example.content()
    with example.writer() as writer:
        assert (writer.pending, writer.changes.relabelled) == ([], 0)
    assert example.content() == before


def test_an_existing_store_keeps_its_chunk_size(example: Any) -> None:
    example.write(chunks=[0])
    example.chunk_rows = 3
    with example.writer() as writer:
        assert [writer.chunk(number) for number in writer.pending] == [range(4, 8), range(8, 10)]


def test_chunks_may_be_made_in_any_order(example: Any) -> None:
    np.testing.assert_array_equal(example.write(chunks=[2, 0, 1]).read().values, example.values)


def test_an_incomplete_store_is_not_read_and_tells_how_far_it_is(example: Any) -> None:
    store = example.write(chunks=[0, 2])
    with pytest.raises(StoreIncompleteError, match=r"2 of 3 chunks \(6 of 10 rows\).*dml extract"):
        store.read()


@pytest.mark.parametrize("field", OTHER)
def test_a_store_of_other_facts_is_refused_and_names_the_field(example: Any, field: str) -> None:
    example.write(chunks=[0])
    before = example.content()
    example.facts[field] = OTHER[field]
    with pytest.raises(StoreMismatchError, match=f"{field}.*--store") as caught:
        example.writer()
    error = caught.value
    assert (error.field, "\n" in str(error)) == (field, False)
    if field != "rows_digest":
        assert json.dumps(error.found) in str(error)
        assert json.dumps(error.expected) in str(error)
    assert error.found != error.expected
    assert example.content() == before
    with pytest.raises(StoreMismatchError, match=field):
        FeatureStore.open(example.path).require(example.fingerprint)


def test_reordered_rows_are_refused(example: Any) -> None:
    example.write()
    example.columns["id"] = example.ids[::-1]
    with pytest.raises(StoreMismatchError, match="rows_digest"):
        example.writer()


def test_ids_that_do_not_belong_to_the_digest_are_refused(example: Any) -> None:
    example.write()
    example.facts["rows_digest"] = example.fingerprint.rows_digest
    example.columns["id"] = [f"other {name}" for name in example.ids]
    with pytest.raises(InputError, match="ids of the rows"):
        example.writer()


def test_other_library_versions_do_not_count_once_a_store_is_complete(example: Any) -> None:
    example.write()
    example.facts["versions"] = {"torch": "9.9"}
    with example.writer() as writer:
        assert writer.pending == []
    with pytest.raises(StoreMismatchError, match="versions"):
        FeatureStore.open(example.path).require(example.fingerprint)


def test_corrected_labels_keep_the_features(example: Any) -> None:
    example.write(chunks=[0])
    chunk = (example.path / "features" / "c" / "0" / "0").stat()
    labels = example.rows["label"].to_pylist()
    example.columns["label"] = [*labels[:8], "new", "new"]
    with example.writer() as writer:
        assert writer.changes.relabelled == 2
    assert (example.path / "features" / "c" / "0" / "0").stat() == chunk
    store = example.write()
    assert store.rows["label"].to_pylist() == [*labels[:8], "new", "new"]
    np.testing.assert_array_equal(store.read().values, example.values)


def test_a_new_column_counts_for_every_row(example: Any) -> None:
    example.write()
    example.columns["split"] = ["train"] * 10
    with example.writer() as writer:
        assert writer.changes.relabelled == 10
    assert FeatureStore.open(example.path).rows.column_names == ["id", "path", "label", "split"]


def test_moved_photos_change_root_and_paths_only(example: Any) -> None:
    example.write()
    example.columns["path"] = [f"moved/{name}" for name in example.ids]
    with StoreWriter.create_or_resume(
        example.path, fingerprint=example.fingerprint, rows=example.rows, root="elsewhere"
    ) as writer:
        assert (writer.pending, writer.changes.relabelled) == ([], 0)
    store = FeatureStore.open(example.path)
    assert (store.root, store.rows["path"][0].as_py()) == ("elsewhere", "moved/0.jpg")
    assert store.fingerprint == example.fingerprint


def test_a_second_writer_is_refused_and_names_the_first(example: Any) -> None:
    script = (
        "import sys, time\n"
        "from cache.locks.lock import lock_for_writing\n"
        "from cache.places.place import place_of\n"
        "lock = lock_for_writing(place_of(sys.argv[1]))\n"
        "print('locked', flush=True); time.sleep(60)"
    )
    example.write(chunks=[0])
    command = [sys.executable, "-c", script, str(example.path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(StoreBusyError, match=f"process {other.pid} of .* has been writing"):
            example.writer()
        assert FeatureStore.open(example.path).finished_chunks == 1
        other.kill()
    example.write()


def test_a_refused_writer_gives_the_lock_back(example: Any) -> None:
    example.write()
    example.facts["backbone"] = "other"
    with pytest.raises(StoreMismatchError):
        example.writer()
    example.facts.clear()
    example.writer().close()


def test_two_writers_that_create_at_once_end_with_one_store(
    example: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = LocalPlace.create

    def slow_create(place: LocalPlace, files: Any) -> bool:
        monkeypatch.undo()
        example.write(chunks=[0])  # the other writer, faster
        return create(place, files)

    monkeypatch.setattr(LocalPlace, "create", slow_create)
    with example.writer() as writer:
        assert writer.pending == [1, 2]
    assert [path.name for path in example.path.parent.iterdir()] == [example.path.name]


@pytest.mark.parametrize(
    ("number", "shape", "unreadable", "message"),
    [
        (0, (4, 6), {}, "not one of the 2 that are pending"),
        (3, (4, 6), {}, "not one of the 2 that are pending"),
        (1, (2, 6), {}, "shape (2, 6), expected (4, 1, 6)"),
        (1, (4, 5), {}, "shape (4, 5), expected (4, 1, 6)"),
        (1, (4, 6), {0: "gone"}, "row 0 is not in"),
    ],
)
def test_a_chunk_that_does_not_fit_is_refused(
    example: Any, number: int, shape: tuple[int, int], unreadable: dict[int, str], message: str
) -> None:
    example.write(chunks=[0])
    with example.writer() as writer, pytest.raises(InputError, match=re.escape(message)):
        writer.write(number, np.zeros(shape), unreadable)


@pytest.mark.parametrize("value", [np.nan, np.inf, 70_000.0])
def test_values_that_are_not_finite_in_float16_are_refused(example: Any, value: float) -> None:
    values = example.values[4:8].astype("float32")
    values[1, 2] = value
    with example.writer() as writer:
        with pytest.raises(InputError, match=r"row 5 .*--dtype float32"):
            writer.write(1, values, {})
        assert writer.pending == [0, 1, 2]
