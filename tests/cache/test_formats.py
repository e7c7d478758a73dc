"""Feature files: what is written is read again, by us and by the formats' own libraries."""

from __future__ import annotations

import errno
import json
import os
import resource
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from cache.errors import DiskFullError, InputError
from cache.formats import Content, _content, open_file, regrouped, write_file

ROWS, WIDTH = 50, 6
SUFFIXES = (".npz", ".h5", ".hdf5", ".parquet", ".safetensors", ".pt", ".pth")
COLUMNS = {
    "ids": [f"Bilder/größe {row}, 日本.jpg" for row in range(ROWS)],
    "labels": [str(row % 3) for row in range(ROWS)],
    "split": ["test" if row % 4 else "train" for row in range(ROWS)],
}
FACTS = json.dumps({"says": "ä" * 40})


def features(dtype: str = "float32") -> NDArray[Any]:
    return np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype(dtype)


def content(values: NDArray[Any], columns: dict[str, list[str]] = COLUMNS) -> Content:
    facts = [
        FACTS.replace("says", "0000")
    ]  # the right ones are known only when all blocks were taken

    def blocks() -> Iterator[NDArray[Any]]:
        for first in range(0, len(values), 7):
            facts[0] = FACTS if first + 7 >= len(values) else facts[0]
            yield values[first : first + 7]

    shape = (len(values), values.shape[1])
    return Content(
        shape=shape, dtype=values.dtype, blocks=blocks(), columns=columns, facts=lambda: facts[0]
    )


def read(path: Path, name: str = "features", start: int = 0) -> NDArray[Any]:
    with open_file(path) as source:
        return np.concatenate([np.array(block) for block in source.blocks(name, start)])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows a block, so that every file has many."""
    monkeypatch.setattr(_content, "_BLOCK_BYTES", 8 * 8 * WIDTH)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_is_written_is_read_again_bit_for_bit(suffix: str, dtype: str, tmp_path: Path) -> None:
    values, path = features(dtype), tmp_path / f"x{suffix}"
    assert write_file(path, content(values)) == (path,)
    assert os.listdir(tmp_path) == [path.name]
    with open_file(path) as source:
        assert source.facts == FACTS
        assert set(source.arrays) == {"features", *COLUMNS}
        assert str(source.arrays["features"]) == f"{dtype} (50, 6)"
        assert {name: source.texts(name) for name in COLUMNS} == COLUMNS
    found = read(path)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("start", [1, 8, 23, ROWS - 1])
def test_reading_can_begin_at_any_row(suffix: str, start: int, tmp_path: Path) -> None:
    write_file(tmp_path / f"x{suffix}", content(features()))
    np.testing.assert_array_equal(read(tmp_path / f"x{suffix}", start=start), features()[start:])


def test_npy_holds_the_features_and_a_table_beside_it_the_rest(tmp_path: Path) -> None:
    path, table = tmp_path / "x.npy", tmp_path / "x.rows.parquet"
    assert write_file(path, content(features())) == (path, table)
    np.testing.assert_array_equal(np.load(path), features())
    np.testing.assert_array_equal(read(path, start=9), features()[9:])
    with open_file(table) as source:
        assert {name: source.texts(name) for name in source.arrays} == COLUMNS
        assert source.facts == FACTS
    (tmp_path / "y.rows.parquet").touch()
    with pytest.raises(InputError, match=r"y\.rows\.parquet exists"):
        write_file(tmp_path / "y.npy", content(features()))
    assert not (tmp_path / "y.npy").exists()


# Other programs read what is written


def test_numpy_reads_our_npz_without_pickle(tmp_path: Path) -> None:
    write_file(tmp_path / "x.npz", content(features("float16")))
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["features"], features("float16"))
        assert found["ids"].tolist() == COLUMNS["ids"]
        assert found["labels"].shape == (ROWS,)
        assert str(found["dml"]) == FACTS


def test_h5py_reads_our_hdf5(tmp_path: Path) -> None:
    write_file(tmp_path / "x.h5", content(features("float16")))
    with h5py.File(tmp_path / "x.h5") as found:
        np.testing.assert_array_equal(found["features"][:], features("float16"))
        assert found["ids"].asstr()[:].tolist() == COLUMNS["ids"]
        assert found.attrs["dml"] == FACTS


def test_arrow_reads_our_parquet(tmp_path: Path) -> None:
    write_file(tmp_path / "x.parquet", content(features("float16")))
    found = pq.read_table(tmp_path / "x.parquet")
    values = found["features"].combine_chunks().flatten().to_numpy().reshape(ROWS, WIDTH)
    np.testing.assert_array_equal(values, features("float16"))
    assert found["ids"].to_pylist() == COLUMNS["ids"]


def test_safetensors_reads_our_tensors(tmp_path: Path) -> None:
    write_file(tmp_path / "x.safetensors", content(features("float16")))
    with safe_open(tmp_path / "x.safetensors", framework="np") as found:
        np.testing.assert_array_equal(found.get_tensor("features"), features("float16"))
        names = json.loads(found.metadata()["labels"])
        assert [names[number] for number in found.get_tensor("labels")] == COLUMNS["labels"]
        ends = found.get_tensor("ids.offsets")
        ids = found.get_tensor("ids").tobytes()
        assert ids[ends[4] : ends[5]].decode() == COLUMNS["ids"][4]


def test_torch_reads_our_file_without_unpickling_objects(tmp_path: Path) -> None:
    write_file(tmp_path / "x.pt", content(features("float16")))
    found = torch.load(tmp_path / "x.pt", weights_only=True)
    assert torch.equal(found["features"], torch.from_numpy(features("float16")))
    assert found["ids"] == COLUMNS["ids"]


# Writing


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".npy"])
def test_features_are_never_held_as_a_whole(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20,000 x 256 float32 are 20.5 MB; what is held at a time stays below 5 MB."""
    monkeypatch.setattr(_content, "_BLOCK_BYTES", 1 << 20)
    count, width, path = 20_000, 256, tmp_path / f"x{suffix}"
    many = Content(
        shape=(count, width),
        dtype=np.dtype("float32"),
        blocks=(np.full((500, width), first, "float32") for first in range(0, count, 500)),
        columns={"labels": ["a", "b"] * (count // 2)},
        facts=lambda: FACTS,
    )
    tracemalloc.start()
    try:
        write_file(path, many)
        with open_file(path) as source:
            rows = sum(len(block) for block in source.blocks("features", 1))
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
    assert rows == count - 1


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".npy"])
def test_a_full_disk_leaves_nothing_and_keeps_what_was_there(suffix: str, tmp_path: Path) -> None:
    def blocks() -> Iterator[NDArray[Any]]:
        yield features()[:10]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / f"x{suffix}"
    path.write_text("old")
    whole = content(features())
    broken = Content(
        shape=whole.shape,
        dtype=whole.dtype,
        blocks=blocks(),
        columns=COLUMNS,
        facts=lambda: FACTS,
    )
    with pytest.raises(DiskFullError, match="cannot write .*: no space left on device"):
        write_file(path, broken, is_forced=True)
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_text() == "old"


def test_a_file_is_overwritten_only_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_text("old")
    with pytest.raises(InputError, match=r"x\.npz exists: .* overwrite it with --force"):
        write_file(path, content(features()))
    write_file(path, content(features()), is_forced=True)
    np.testing.assert_array_equal(read(path), features())


@pytest.mark.parametrize("name", ["x.csv", "x.docx", "x", "folder.npz"])
def test_a_place_that_cannot_be_written_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(InputError, match="not a kind of file to write: expected .*npz|is a folder"):
        write_file(tmp_path / name, content(features()))


def test_blocks_are_cut_into_any_ascending_ranges() -> None:
    values = np.arange(100).reshape(50, 2)
    for ranges in ([range(50)], [range(3), range(3, 20), range(31, 32), range(40, 50)]):
        start = ranges[0].start
        blocks = [values[first : first + 7] for first in range(start, 50, 7)]
        for rows, found in zip(ranges, regrouped(blocks, ranges), strict=True):
            np.testing.assert_array_equal(found, values[rows.start : rows.stop])
    late = list(regrouped([values[30:33], values[33:]], [range(30, 31), range(40, 50)]))
    np.testing.assert_array_equal(late[1], values[40:])
    with pytest.raises(EOFError, match="row 51 is missing"):
        list(regrouped([values], [range(60)]))


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".npy"])
def test_a_file_that_cannot_grow_is_told_in_one_line(suffix: str, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
    try:
        with pytest.raises(DiskFullError, match="cannot write .*: file too large; nothing of it"):
            write_file(tmp_path / f"x{suffix}", content(features()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []
