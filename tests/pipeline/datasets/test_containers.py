"""Pictures in zip, tar and Parquet files and CIFAR batches are read as if they were files."""

from __future__ import annotations

import os
import pickle
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cache.errors import InputError
from pipeline.datasets import load_manifest
from pipeline.extraction import containers
from pipeline.extraction.pictures.decoding import UnreadableImageError, decode

NAMES = [f"dir {number % 3}/a,b{number}.JPG" for number in range(20)]


@pytest.fixture
def folder(tmp_path: Path, make: Any) -> Path:
    return Path(make(tmp_path / "files", {}, NAMES))


def write_parquet(file: Path, contents: list[bytes | None]) -> None:
    images = [None if each is None else {"bytes": each, "path": "x"} for each in contents]
    rows = pa.table({"image": images, "label": list(range(len(images)))})
    pq.write_table(rows, file, row_group_size=3)


def same_pixels(first: Path, second: Path) -> bool:
    return decode(first).tobytes() == decode(second).tobytes()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_of_an_archive_equals_the_file(
    tmp_path: Path, folder: Path, pack: Any, kind: str
) -> None:
    archive = pack(folder, tmp_path / f"photos.{kind}")
    for name in NAMES:
        member = Path(f"{archive}::{name}")
        assert containers.read_bytes(member) == (folder / name).read_bytes()
        assert containers.size_of(member) == (folder / name).stat().st_size
        assert same_pixels(member, folder / name)
    assert set(containers.opened(str(archive)).names()) == set(NAMES)
    assert containers.is_folder(f"{archive}::dir 0")
    assert not containers.is_folder(f"{archive}::dir")
    assert not containers.is_there(f"{archive}::dir 0")


def test_rows_of_a_parquet_table_equal_the_files(tmp_path: Path, folder: Path) -> None:
    contents = [(folder / name).read_bytes() for name in NAMES]
    write_parquet(tmp_path / "a.parquet", [*contents, None])
    pq.write_table(pa.table({"picture": contents}), tmp_path / "plain.parquet")
    for row, name in enumerate(NAMES):
        for path in ("a.parquet::{}", "a.parquet::image/{}", "plain.parquet::{}"):
            place = tmp_path / path.format(row)
            assert containers.size_of(place) == len(contents[row])
            assert same_pixels(place, folder / name)
    assert containers.size_of(tmp_path / "a.parquet::20") == -1
    with pytest.raises(UnreadableImageError, match="file not found"):
        decode(tmp_path / "a.parquet::20")


@pytest.mark.parametrize("kind", ["zip", "tar", "parquet"])
def test_eight_threads_read_what_one_thread_reads(
    tmp_path: Path, folder: Path, pack: Any, kind: str
) -> None:
    file = tmp_path / f"photos.{kind}"
    if kind == "parquet":
        write_parquet(file, [(folder / name).read_bytes() for name in NAMES])
        members = [f"{file}::{row}" for row in range(len(NAMES))]
    else:
        members = [f"{pack(folder, file)}::{name}" for name in NAMES]
    order = np.random.default_rng(0).permutation(len(NAMES) * 20) % len(NAMES)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(containers.read_bytes, [members[at] for at in order]))
    assert found == [(folder / NAMES[at]).read_bytes() for at in order]


def test_a_cifar_batch_gives_its_rows_as_pictures(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), np.uint8)
    content = pickle.dumps({"data": pixels, "labels": [0, 1, 0, 1]}, protocol=2)
    (tmp_path / "data_batch_1").write_bytes(content)
    for row in range(4):
        expected = Image.fromarray(pixels[row].reshape(3, 32, 32).transpose(1, 2, 0))
        found = decode(tmp_path / f"data_batch_1::{row}")
        assert found.tobytes() == expected.tobytes()
    assert containers.size_of(tmp_path / "data_batch_1::3") == 3072
    assert containers.size_of(tmp_path / "data_batch_1::4") == -1


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harm",)


def test_a_pickle_with_anything_but_arrays_is_refused_and_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({"data": Harm()}))
    with pytest.raises(InputError, match=r"it asks for posix\.mkdir"):
        containers.size_of(tmp_path / "data_batch_1::0")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_arrays_of_every_pickle_protocol_are_read(tmp_path: Path, protocol: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3072), np.uint8)
    content = pickle.dumps({"data": pixels}, protocol=protocol)
    (tmp_path / "batch").write_bytes(content)
    assert containers.size_of(tmp_path / "batch::1") == 3072


@pytest.mark.parametrize("kind", ["zip", "tar", "parquet", ""])
def test_a_truncated_container_is_refused_in_one_line(
    tmp_path: Path, folder: Path, pack: Any, kind: str
) -> None:
    file = tmp_path / (f"photos.{kind}" if kind else "batch")
    if kind == "parquet":
        write_parquet(file, [(folder / name).read_bytes() for name in NAMES])
    elif kind == "":
        pixels = np.zeros((9, 3072), np.uint8)
        file.write_bytes(pickle.dumps({"data": pixels}))
    else:
        pack(folder, file)
    whole = file.read_bytes()
    for share in (0.3, 0.5, 0.7):
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match="it may be truncated, get it again") as caught:
            containers.size_of(f"{file}::{NAMES[0]}")
        assert "\n" not in str(caught.value)
        assert str(file) in str(caught.value)


def test_a_tar_cut_between_members_is_refused(tmp_path: Path, folder: Path, pack: Any) -> None:
    file = pack(folder, tmp_path / "a.tar")
    with tarfile.open(file) as archive:
        last = archive.getmembers()[-1]
    file.write_bytes(file.read_bytes()[: last.offset])
    with pytest.raises(InputError, match="its end is missing"):
        containers.size_of(f"{file}::{NAMES[0]}")


def test_a_damaged_member_is_one_unreadable_image(tmp_path: Path, make: Any, pack: Any) -> None:
    file = pack(make(tmp_path / "files", {}, ["a.png", "b.png"]), tmp_path / "a.zip")
    with zipfile.ZipFile(file) as archive:
        start = archive.getinfo("a.png").header_offset
    content = bytearray(file.read_bytes())
    content[start + 40 : start + 60] = bytes(20)
    file.write_bytes(content)
    with pytest.raises(UnreadableImageError, match="damaged"):
        decode(tmp_path / "a.zip::a.png")
    assert decode(tmp_path / "a.zip::b.png").size[1] == 8


def test_a_compressed_tar_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").touch()
    with pytest.raises(InputError, match=r"turn it into a plain \.tar once"):
        containers.size_of(tmp_path / "a.tar.gz::x.jpg")


def test_an_archive_that_was_written_anew_is_read_anew(
    tmp_path: Path, make: Any, pack: Any
) -> None:
    file = pack(make(tmp_path / "one", {"a": "old"}), tmp_path / "a.zip")
    assert containers.read_bytes(f"{file}::a") == b"old"
    pack(make(tmp_path / "two", {"a": "newer"}), file)
    assert containers.read_bytes(f"{file}::a") == b"newer"


def test_a_file_whose_name_has_colons_is_a_file(tmp_path: Path, make: Any, picture: Any) -> None:
    make(tmp_path, {"a::b.png": picture(0)})
    assert containers.split(tmp_path / "a::b.png") is None
    assert decode(tmp_path / "a::b.png").size == (8, 8)


def test_a_table_may_list_pictures_in_archives(tmp_path: Path, folder: Path, pack: Any) -> None:
    pack(folder, tmp_path / "p.zip")
    rows = "".join(f'"p.zip::{name}",{at % 2}\n' for at, name in enumerate(NAMES))
    (tmp_path / "table.csv").write_text("path,label\n" + rows)
    manifest = load_manifest(tmp_path / "table.csv")
    assert manifest.ids[1] == "p.zip::dir 1/a,b1.JPG"
    (tmp_path / "table.csv").write_text("path,label\np.zip::no.jpg,a\np.zip::none.jpg,b\n")
    with pytest.raises(InputError, match="none of the first 2 images"):
        load_manifest(tmp_path / "table.csv")
