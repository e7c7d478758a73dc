"""Manifests, folders and containers at URLs give what they give on this machine."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cache.errors import InputError, UnreachableError
from cache.places.url_files import file_system
from cache.places.urls import below, is_url, located
from pipeline.datasets import load_manifest
from pipeline.datasets.sizes import file_sizes
from pipeline.extraction import containers

from ...faulty import FaultyFileSystem

URL = "faulty://bucket/photos"
NAMES = [f"{kind}/{number} ü,%20.png" for kind in ("cat", "dog") for number in range(10)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4 + number), (number, 0, 0)).save(file)
    return tmp_path / "photos"


def upload(folder: Path, url: str) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            file_system(url).pipe_file(f"{url}/{file.relative_to(folder)}", file.read_bytes())


def reads(faulty: type[FaultyFileSystem]) -> list[str]:
    return [operation for operation, _ in faulty.calls]


@pytest.mark.parametrize("splits", [False, True])
def test_a_folder_far_away_lists_as_it_does_here(
    faulty: type[FaultyFileSystem], photos: Path, splits: bool
) -> None:
    if splits:
        shutil.copytree(photos, photos.parent / "all" / "train")
        shutil.copytree(photos, photos.parent / "all" / "test")
        photos = photos.parent / "all"
    (photos / ".hidden").mkdir()
    (photos / ".hidden" / "x.png").write_bytes(b"")
    (photos / ".DS_Store").write_bytes(b"")
    (photos / ("train" if splits else "cat") / "readme.txt").write_bytes(b"")
    upload(photos, URL)
    faulty.calls.clear()
    far, near = load_manifest(f"{URL}/"), load_manifest(photos)
    assert (far.root, near.root) == (URL, photos)
    assert (far.ids, far.paths, far.labels, far.splits) == (
        *(near.ids, near.paths, near.labels, near.splits),
    )
    sizes = file_sizes(far)
    assert list(sizes) == list(file_sizes(near))
    assert set(reads(faulty)) <= {"list", "info"}
    assert len(faulty.calls) < len(NAMES)  # none for each image


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_far_away_mixes_urls_and_relative_and_absolute_paths(
    faulty: type[FaultyFileSystem], photos: Path, suffix: str
) -> None:
    upload(photos, URL)
    upload(photos, "memory://elsewhere")
    paths = [
        *(f"photos/{name}" for name in NAMES[:9]),  # one folder, listed
        *(f"memory://elsewhere/{name}" for name in NAMES[9:12]),
        str(photos / NAMES[12]),
        "photos/dog/none.png",
        "memory://elsewhere/none.png",
    ]
    rows = pa.table({"path": paths, "label": [str(row % 2) for row in range(len(paths))]})
    stream = io.BytesIO()
    if suffix == "csv":
        pc.write_csv(rows, stream)
    else:
        pq.write_table(rows, stream)
    file_system(URL).pipe_file(f"faulty://bucket/list.{suffix}", stream.getvalue())
    manifest = load_manifest(f"faulty://bucket/list.{suffix}")
    assert (manifest.root, manifest.ids) == ("faulty://bucket", tuple(paths))
    faulty.calls.clear()
    sizes = list(file_sizes(manifest))
    assert sizes == [(photos / name).stat().st_size for name in NAMES[:13]] + [-1, -1]
    assert len(faulty.calls) < 6
    places = [below(manifest.root, path) for path in manifest.paths]
    contents = [containers.read_bytes(place) for place in places[:13]]
    assert contents == [(photos / name).read_bytes() for name in NAMES[:13]]


def test_a_table_here_may_list_urls(faulty: Any, photos: Path, tmp_path: Path) -> None:
    upload(photos, URL)
    lines = ["path,label", *(f'"{URL}/{name}",{name[:3]}' for name in NAMES)]
    (tmp_path / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    manifest = load_manifest(tmp_path / "list.csv")
    assert list(file_sizes(manifest)) == [(photos / name).stat().st_size for name in NAMES]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_far_away_is_read_in_place(
    bucket: str, photos: Path, pack: Any, tmp_path: Path, kind: str
) -> None:
    archive = Path(pack(photos, tmp_path / f"a.{kind}"))
    url = f"{bucket}/a.{kind}"
    file_system(url).pipe_file(url, archive.read_bytes())
    assert set(containers.opened(url).names()) == set(NAMES)
    for name in NAMES:
        assert containers.read_bytes(f"{url}::{name}") == (photos / name).read_bytes()
        assert containers.size_of(f"{url}::{name}") == (photos / name).stat().st_size
    assert containers.is_there(f"{url}::{NAMES[0]}")
    assert not containers.is_there(f"{url}::none")
    assert not containers.is_there(f"{bucket}/none.{kind}::none")
    assert containers.size_of(f"{bucket}/none.{kind}::none") == -1


def test_an_image_in_an_archive_far_away_takes_one_request(
    faulty: type[FaultyFileSystem], photos: Path, pack: Any, tmp_path: Path
) -> None:
    archive = Path(pack(photos, tmp_path / "a.zip"))
    file_system(URL).pipe_file(f"{URL}/a.zip", archive.read_bytes())
    containers.read_bytes(f"{URL}/a.zip::{NAMES[0]}")
    faulty.calls.clear()
    for name in NAMES:
        containers.read_bytes(f"{URL}/a.zip::{name}")
    assert reads(faulty) == ["read"] * len(NAMES)


def test_pictures_in_a_table_far_away_are_read_in_place(bucket: str, photos: Path) -> None:
    contents = [(photos / name).read_bytes() for name in NAMES]
    stream = io.BytesIO()
    pq.write_table(pa.table({"image": contents}), stream, row_group_size=7)
    file_system(bucket).pipe_file(f"{bucket}/t.parquet", stream.getvalue())
    for row in np.random.default_rng(0).permutation(len(contents)):
        assert containers.read_bytes(f"{bucket}/t.parquet::{row}") == contents[row]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("nothing", "there is nothing at {bucket}/nothing: check the name, also that of the "
         "bucket"),
        ("none.csv", "{bucket}/none.csv does not exist: expected a .csv or .parquet table"),
        ("bad.csv", "{bucket}/bad.csv has no column 'path', its columns are 'x'"),
        ("bad.parquet", "{bucket}/bad.parquet is not a Parquet table of texts or numbers: "),
        ("lost.csv", "none of the first 2 images of {bucket}/lost.csv exists, for example "
         "{bucket}/a.png: paths must be absolute or start at the table's folder"),
        ("texts", "{bucket}/texts holds no images ("),
    ],
)  # fmt: skip
def test_a_bad_source_far_away_is_one_line(bucket: str, source: str, line: str) -> None:
    contents = {
        "bad.csv": b"x\n1\n",
        "bad.parquet": b"PAR1",
        "lost.csv": b"path,label\na.png,a\nb.png,b\n",
        "texts/a/b.txt": b"1",
    }
    for name, content in contents.items():
        file_system(bucket).pipe_file(f"{bucket}/{name}", content)
    with pytest.raises(InputError) as refused:
        load_manifest(f"{bucket}/{source}")
    assert str(refused.value).startswith(line.format(bucket=bucket))


def test_a_damaged_archive_far_away_is_not_mistaken_for_a_bad_network(faulty: Any) -> None:
    file_system(URL).pipe_file(f"{URL}/cut.zip", b"PK no zip")
    with pytest.raises(InputError, match="is no whole zip archive"):
        containers.read_bytes(f"{URL}/cut.zip::a")
    faulty.fail(before=lambda operation, path: ConnectionError("down"))
    for kind in ("zip", "tar", "parquet"):
        with pytest.raises(UnreachableError, match=r"cannot be reached \(down\)"):
            containers.read_bytes(f"{URL}/new.{kind}::0")


def test_urls_keep_their_slashes_and_paths_stay_paths(tmp_path: Path) -> None:
    assert located("S3://Bucket/a//b/") == "s3://Bucket/a//b"
    assert located(f"file://{tmp_path}") == located(str(tmp_path)) == tmp_path
    assert below("s3://b/x", "y/z.png") == "s3://b/x/y/z.png"
    assert below("s3://b/x", "/data/z.png") == Path("/data/z.png")
    assert below("s3://b/x", "gs://c/z.png") == below(tmp_path, "gs://c/z.png") == "gs://c/z.png"
    assert below(tmp_path, "z.png") == tmp_path / "z.png"
    assert not any(map(is_url, (tmp_path / "s3:" / "b", "C:/x", "file:///x")))
