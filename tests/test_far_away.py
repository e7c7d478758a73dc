"""Images, manifest and store at URLs, through the command line, on a server that speaks S3."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache import FeatureStore
from cache.locks.lock import lock_for_writing
from cache.places.place import place_of
from cache.places.url_files import file_system, files_below, forget_connections

CLASSES, IMAGES = ("cat", "dog", "eel", "fox"), 4


@pytest.fixture(autouse=True)
def _small_backbone(flat_backbone: object) -> None:
    """Every command takes the tiny network."""


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Class folders of two splits; the working folder is the one above."""
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in CLASSES:
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(IMAGES):
                pixels = generator.integers(0, 256, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"ü {number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def upload(folder: Path, url: str) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            name = file.relative_to(folder).as_posix()
            file_system(url).pipe_file(f"{url}/{name}", file.read_bytes())


def test_the_same_folder_here_and_far_away_gives_the_same_store(
    bucket: str, photos: Path, dml: Callable
) -> None:
    upload(photos, f"{bucket}/photos")
    there = dml(f"extract {bucket}/photos/ --store {bucket}/features.zarr/ --json").json()
    here = dml("extract photos --store here.zarr --json").json()
    assert (there["store"], there["readable"]) == (f"{bucket}/features.zarr", 32)
    assert here["readable"] == 32
    far, near = FeatureStore.open(f"{bucket}/features.zarr"), FeatureStore.open("here.zarr")
    assert far.root == f"{bucket}/photos"
    assert far.fingerprint == near.fingerprint
    assert far.rows.equals(near.rows)
    assert far.content_hash() == near.content_hash()
    assert far.rows["id"][0].as_py() == "test/cat/ü 0.png"


def test_every_command_takes_a_store_at_a_url(bucket: str, photos: Path, dml: Callable) -> None:
    store = f"{bucket}/features.zarr"
    assert dml(f"extract photos --store {store}").code == 0
    again = dml(f"extract photos --store {store} --json").json()
    assert again["already_complete"]
    assert dml(f"info {store} --json").json()["path"] == store
    assert dml("info --json").json()["path"] == store  # as the latest
    trained = dml(f"train --store {store} --loss contrastive --epochs 1 --dim 4 --json").json()
    assert trained["store"] == store
    here = dml("eval --json").json()
    assert here == dml(f"eval {trained['run']} --store {store} --json").json()
    ablated = dml(f"ablate --store {store} --loss contrastive --noise 0 --seeds 1 --epochs 1")
    assert ablated.code == 0
    assert not Path("s3:").exists()
    assert "writer.lock" not in files_below(store)


def test_a_second_writer_far_away_is_refused_by_name(
    bucket: str, photos: Path, dml: Callable
) -> None:
    store = f"{bucket}/features.zarr"
    assert dml(f"extract photos --store {store}").code == 0
    lock = lock_for_writing(place_of(store))
    line = dml(f"extract photos --store {store}").refusal()
    assert line.startswith(f"dml: process {os.getpid()} of ")
    assert f" has been writing to {store} for 0 s (last sign of life 0 s ago): wait until" in line
    lock.close()


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("extract photos --store s3://no-such-bucket/a.zarr",
         "dml: cannot write s3://no-such-bucket/a.zarr/"),
        ("extract s3://no-such-bucket/photos",
         "dml: there is nothing at s3://no-such-bucket/photos: check the name"),
        ("extract s3://no-such-bucket/list.csv",
         "dml: s3://no-such-bucket/list.csv does not exist: expected a .csv or .parquet table"),
        ("train --store s3://no-such-bucket/a.zarr",
         "dml: there is no feature store at s3://no-such-bucket/a.zarr: run `dml extract` first"),
        ("info s3://no-such-bucket/a.zarr", "dml: there is no feature store at s3://no-such"),
        ("info nosuch://bucket/a.zarr",
         "dml: nosuch://bucket cannot be used (Protocol not known: nosuch): expected a path, or a"),
    ],
)  # fmt: skip
def test_what_can_be_mistyped_is_one_line(
    bucket: str, photos: Path, dml: Callable, command: str, line: str
) -> None:
    assert dml(command).refusal().startswith(line)


def test_a_server_that_is_down_is_one_line(
    bucket: str, photos: Path, dml: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.places.attempts.PAUSES", (0.0,))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens there
    forget_connections()
    line = dml(f"extract {bucket}/photos").refusal()
    assert line.startswith(f"dml: {bucket}/photos cannot be reached (Could not connect to the ")
    assert line.endswith(
        "after 2 attempts: check the network and the address, then run the same command again; "
        "what is finished is kept"
    )
