"""Images at URLs: what a bad network does to an extraction, and what it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cache import FeatureStore
from cache.errors import UnreachableError
from cache.places.url_files import file_system
from pipeline.datasets import load_manifest
from pipeline.extract import extract

from ...faulty import FaultyFileSystem, sometimes

URL = "faulty://bucket/photos"
IMAGES = 24
DOWN = ConnectionError("the network is down")


@pytest.fixture
def photos(tmp_path: Path, faulty: type[FaultyFileSystem]) -> Path:
    """Images on this machine, and the same at the URL."""
    generator = np.random.default_rng(0)
    for number in range(IMAGES):
        file = tmp_path / "photos" / "ab"[number % 2] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8)).save(file)
        name = file.relative_to(tmp_path / "photos")
        file_system(URL).pipe_file(f"{URL}/{name}", file.read_bytes())
    return tmp_path / "photos"


def run(source: str | Path, store: str | Path, backbone: Any) -> Any:
    return extract(load_manifest(source), store, backbone, device="cpu", workers=3, chunk_rows=4)


def test_faults_that_pass_leave_no_trace(
    photos: Path, faulty: type[FaultyFileSystem], flat_backbone: Any, tmp_path: Path
) -> None:
    run(photos, tmp_path / "near.zarr", flat_backbone)
    faulty.fail(
        before=sometimes(DOWN, rate=0.1, seed=1),
        after=sometimes(TimeoutError("no answer"), rate=0.1, seed=2),
    )
    report = run(URL, "faulty://bucket/far.zarr", flat_backbone)
    assert (report.readable, report.unreadable) == (IMAGES, {})
    faulty.fail()
    far = FeatureStore.open("faulty://bucket/far.zarr")
    assert far.content_hash() == FeatureStore.open(tmp_path / "near.zarr").content_hash()
    noted = [path for operation, path in faulty.calls if operation == "write" and "/c/" in path]
    assert len(set(noted)) == far.num_chunks * 2  # features and hashes, each chunk at one place


def test_only_what_is_missing_is_unreadable(
    photos: Path, faulty: type[FaultyFileSystem], flat_backbone: Any, tmp_path: Path
) -> None:
    manifest = load_manifest(URL)
    file_system(URL).rm_file(f"{URL}/a/02.png")
    report = extract(manifest, tmp_path / "a.zarr", flat_backbone, device="cpu")
    assert report.unreadable == {"a/02.png": "file not found"}


@pytest.mark.parametrize("error", [DOWN, PermissionError("Access Denied")])
def test_a_network_that_breaks_down_is_not_taken_for_unreadable_images(
    photos: Path,
    faulty: type[FaultyFileSystem],
    flat_backbone: Any,
    tmp_path: Path,
    error: Exception,
) -> None:
    run(photos, tmp_path / "near.zarr", flat_backbone)
    manifest = load_manifest(URL)
    faulty.fail(before=lambda operation, path: error if "/b/" in path else None)
    with pytest.raises(UnreachableError, match=r"^faulty://bucket/photos/b/\d+.png (cannot|refu)"):
        extract(manifest, tmp_path / "far.zarr", flat_backbone, device="cpu", chunk_rows=4)
    begun = FeatureStore.open(tmp_path / "far.zarr")
    assert (begun.finished_chunks, begun.num_chunks) == (3, 6)  # those of the class a
    assert begun.unreadable == {}
    faulty.fail()
    faulty.calls.clear()
    report = run(URL, tmp_path / "far.zarr", flat_backbone)
    assert report.resumed_chunks == begun.finished_chunks
    fetched = [path for operation, path in faulty.calls if operation == "read"]
    assert len(fetched) == len(set(fetched)) == IMAGES - 4 * begun.finished_chunks
    far, near = (FeatureStore.open(tmp_path / name) for name in ("far.zarr", "near.zarr"))
    assert far.content_hash() == near.content_hash()
