"""What a worker on another machine looks at before it begins, and what it says while it works."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from cache import Fingerprint, StoreWriter
from cache.places.place import place_of
from cache.stored import ChunkFiles
from pipeline.backbones._backbone import Backbone
from pipeline.datasets.manifest import make_manifest
from pipeline.extract import _fingerprint, _table
from pipeline.extraction.cluster.worker import Premises, Worker
from pipeline.extraction.embed import UnreadableFileError
from pipeline.extraction.job import Job, Step
from pipeline.extraction.machines import ThisMachine
from pipeline.extraction.pictures.views import Augmentation

PHOTOS, CHUNK = 10, 4


class Scene(NamedTuple):
    """A store that is being written, and the job that fills it."""

    writer: StoreWriter
    job: Job
    premises: Premises
    backbone: Backbone

    def worker(self, **changes: Any) -> Worker:
        premises = dataclasses.replace(self.premises, **changes)
        return Worker(self.backbone, self.writer.files, premises)

    def other_job(self, **changes: Any) -> Worker:
        return self.worker(sample=dataclasses.replace(self.premises.sample, **changes))


@pytest.fixture
def scene(tmp_path: Path, flat_backbone: Backbone) -> Iterator[Scene]:
    names = [f"{number}.png" for number in range(PHOTOS)]
    root = tmp_path / "photos"
    root.mkdir()
    generator = np.random.default_rng(0)
    for name in names:
        Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8)).save(root / name)
    sizes = [(root / name).stat().st_size for name in names]
    manifest = make_manifest(ids=names, paths=names, labels=names, root=root)
    none, here = Augmentation(views=0), ThisMachine("cpu", "float32")
    job = Job(
        num_rows=PHOTOS,
        paths=names,
        ids=names,
        sizes=sizes,
        root=root,
        augmentation=none,
        dtype="float32",
        device="cpu",
        precision="float32",
        batch_size=None,
        workers=1,
        unreadable="skip",
    )
    fingerprint: Fingerprint = _fingerprint(flat_backbone, here, none, "float32", manifest, sizes)
    with StoreWriter.create_or_resume(
        tmp_path / "features.zarr",
        fingerprint=fingerprint,
        rows=_table(manifest, sizes),
        root=root,
        chunk_rows=CHUNK,
        images=True,
    ) as writer:
        yield Scene(writer, job, Premises.of(job, range(4), writer.files), flat_backbone)


@pytest.fixture(autouse=True)
def _plain_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.extraction.cluster.worker.precision_of", lambda _: "float32")


def test_a_worker_that_sees_everything_says_what_it_computes_on(scene: Scene) -> None:
    assert str(scene.worker().look()).startswith("CPU with ")


def test_another_version_of_a_library_is_named(scene: Scene) -> None:
    versions = scene.premises.versions | {"torch": "1.0"}
    assert "expected 1.0: install the same dml" in str(scene.worker(versions=versions).look())
    versions = scene.premises.versions | {"no-such-library": "3"}
    assert "has no-such-library not at all, expected 3" in str(
        scene.worker(versions=versions).look()
    )


def test_another_precision_or_device_is_refused(scene: Scene) -> None:
    line = str(scene.other_job(precision="bfloat16").look())
    assert "computes in float32, expected bfloat16" in line
    assert "unknown device 'tpu'" in str(scene.other_job(device="tpu").look())


def test_a_copy_of_the_store_is_not_the_store(scene: Scene, tmp_path: Path) -> None:
    """Another run of the same command on that machine has left one at the same path."""
    shutil.copytree(scene.writer.path, tmp_path / "copy.zarr")
    files = dataclasses.replace(scene.writer.files, store=place_of(tmp_path / "copy.zarr"))
    assert scene.premises.owner
    elsewhere = dataclasses.replace(scene.premises.owner, since=0.0)
    (tmp_path / "copy.zarr" / "writer.lock").write_bytes(elsewhere.to_json())
    line = str(Worker(scene.backbone, files, scene.premises).look())
    assert "does not see the store" in line
    assert "choose a --store that all machines share" in line


def test_a_store_that_is_not_there_is_told_like_that(scene: Scene, tmp_path: Path) -> None:
    files = ChunkFiles(place_of(tmp_path / "none.zarr"), scene.writer.files.header, {})
    line = str(Worker(scene.backbone, files, scene.premises).look())
    assert "does not see the store" in line


def test_images_that_are_not_there_are_no_unreadable_images(scene: Scene, tmp_path: Path) -> None:
    line = str(scene.other_job(root=tmp_path / "elsewhere").look())
    assert f"does not see the images, for example {tmp_path / 'elsewhere' / '0.png'}" in line


def test_it_makes_chunks_and_says_so_once_for_each(scene: Scene) -> None:
    chunks = [(1, range(4, 8)), (2, range(8, 10))]
    told = list(scene.worker().make(scene.job.part(range(4, 10)), chunks))
    assert [step.rows for step in told if isinstance(step, Step)] == [4, 2]
    for step in told:
        assert isinstance(step, Step)
        assert step.finished
        scene.writer.note(step.finished)
    assert scene.writer.pending == [0]


def test_what_ends_it_comes_after_what_is_finished(scene: Scene) -> None:
    (Path(scene.job.root) / "9.png").write_text("no picture")
    sizes = [*scene.job.sizes[:9], len("no picture")]
    job = dataclasses.replace(scene.job, unreadable="stop", sizes=sizes)
    step, last = scene.worker().make(job, [(1, range(4, 8)), (2, range(8, 10))])
    assert isinstance(step, Step)
    assert isinstance(last, UnreadableFileError)
    assert str(last).startswith("9.png cannot be read")
