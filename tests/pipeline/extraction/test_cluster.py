"""Extraction on a real Ray cluster of several node processes on this machine, one of them killed.

Starting Ray and its workers takes 10 to 20 seconds each time, so these tests are left out of the
default run; what a crew does when workers fail is tested in `test_crew.py` without Ray.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from cache import FeatureStore
from cache.errors import InputError
from pipeline.backbones._backbone import Backbone, freeze
from pipeline.datasets.manifest import Manifest, make_manifest
from pipeline.extract import ExtractReport, extract
from pipeline.extraction.cluster.connection import quiet_ray
from pipeline.extraction.cluster.crew import Crew
from pipeline.extraction.embed import UnreadableFileError
from pipeline.extraction.pictures.images import Transform

PHOTOS, CHUNK = 400, 4

pytestmark = pytest.mark.slow


def backbone() -> Backbone:
    """A network of torch's own modules: a worker cannot import a test's."""
    transform = Transform(
        resize=64, crop=64, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    network = nn.Sequential(
        nn.Conv2d(3, 64, 7), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64 * 16, 8)
    )
    generator = np.random.default_rng(0)
    for weights in network.parameters():
        values = generator.standard_normal(weights.shape) / 10
        weights.data.copy_(weights.data.new_tensor(values))
    return freeze(name="small", model=network, network=network, transform=transform, pool="avg")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    names = [f"{number:04}.png" for number in range(PHOTOS)]
    for name in names:
        Image.fromarray(generator.integers(0, 256, (20, 18, 3), np.uint8)).save(root / name)
    (root / names[9]).write_text("no picture")
    return photos_in(root)


def photos_in(root: str | Path) -> Manifest:
    names = sorted(each.name for each in Path(root).iterdir())
    return make_manifest(ids=names, paths=names, labels=[name[3] for name in names], root=root)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores, and two nodes of two cores each."""
    quiet_ray()  # before anything of it is imported
    from ray.cluster_utils import Cluster

    nodes = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "include_dashboard": False,
            "object_store_memory": 100_000_000,
        },
    )
    for _ in range(2):
        nodes.add_node(num_cpus=2, object_store_memory=100_000_000)
    yield nodes
    nodes.shutdown()


def run(photos: Manifest, store: Path, **options: Any) -> ExtractReport:
    return extract(photos, store, backbone(), device="cpu", chunk_rows=CHUNK, **options)


@pytest.fixture(scope="module")
def local(photos: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("local") / "features.zarr"
    run(photos, store, workers=2)
    return store


def files_of(store: Path) -> dict[str, bytes]:
    """All files but the ledger, whose lines are in the order in which the chunks came."""
    return {
        file.relative_to(store).as_posix(): file.read_bytes()
        for file in store.rglob("*")
        if file.is_file() and file.name not in ("ledger.jsonl", "writer.lock")
    }


def assert_equal(store: Path, local: Path) -> None:
    assert FeatureStore.open(store).content_hash() == FeatureStore.open(local).content_hash()
    assert files_of(store) == files_of(local)
    ledgers = [(each / "ledger.jsonl").read_bytes().splitlines() for each in (store, local)]
    assert sorted(ledgers[0]) == sorted(ledgers[1])


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_gives_the_store_of_one_machine(
    cluster: Any, photos: Manifest, local: Path, tmp_path: Path, workers: int
) -> None:
    seen: list[tuple[int, int]] = []
    report = run(
        photos,
        tmp_path / "s",
        engine="ray",
        ray_address=cluster.address,
        workers=workers,
        progress=lambda *now: seen.append(now),
    )
    assert (report.readable, report.device, report.remarks) == (PHOTOS - 1, "cpu", ())
    assert seen[0] == (0, PHOTOS)
    assert seen[-1] == (PHOTOS, PHOTOS)
    assert seen == sorted(seen)
    assert_equal(tmp_path / "s", local)


def test_an_image_that_ends_it_is_named_and_what_was_finished_is_gone_on_with(
    cluster: Any, photos: Manifest, local: Path, tmp_path: Path
) -> None:
    there = {"engine": "ray", "ray_address": cluster.address, "workers": 2}
    with pytest.raises(UnreadableFileError, match=r"^0009\.png cannot be read: not a known image"):
        run(photos, tmp_path / "s", unreadable="stop", **there)
    report = run(photos, tmp_path / "s", **there)
    assert not report.already_complete
    assert_equal(tmp_path / "s", local)


def test_an_interrupted_extraction_goes_on_to_the_same_bits(
    cluster: Any, photos: Manifest, local: Path, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > total / 3:
            raise KeyboardInterrupt

    there = {"engine": "ray", "ray_address": cluster.address, "workers": 2}
    with pytest.raises(KeyboardInterrupt):
        run(photos, tmp_path / "s", progress=interrupt, **there)
    assert 0 < FeatureStore.open(tmp_path / "s").finished_chunks < PHOTOS // CHUNK
    assert run(photos, tmp_path / "s", **there).resumed_chunks > 0
    assert_equal(tmp_path / "s", local)


def test_a_gpu_that_no_node_has_is_refused(cluster: Any, photos: Manifest, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the Ray cluster has no GPU, only 4 cores"):
        extract(
            photos,
            tmp_path / "s",
            backbone(),
            device="cuda",
            engine="ray",
            ray_address=cluster.address,
        )
    assert not (tmp_path / "s").exists()


def test_a_node_that_is_killed_costs_nothing_but_time(
    cluster: Any,
    photos: Manifest,
    local: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last one with this cluster: a node is missing from now on."""
    crews: list[Crew] = []
    killed: list[str] = []
    capfd.readouterr()

    def watched(**parts: Any) -> Crew:
        crews.append(Crew(**parts))
        return crews[0]

    def kill_a_node_at_work(done: int, total: int) -> None:
        if done > total / 8 and not killed:
            from ray._private.state import actors

            busiest = max(crews[0].hands, key=lambda hand: len(hand.chunks))
            known = actors()
            killed.append(known[busiest.actor._actor_id.hex()]["Address"]["NodeID"])
            for each in known.values():
                if each["State"] == "ALIVE" and each["Address"]["NodeID"] == killed[0]:
                    os.kill(each["Pid"], signal.SIGKILL)
            node = next(each for each in cluster.list_all_nodes() if each.node_id == killed[0])
            cluster.remove_node(node, allow_graceful=False)

    monkeypatch.setattr("pipeline.extraction.cluster.connection.Crew", watched)

    report = run(
        photos,
        tmp_path / "s",
        engine="ray",
        ray_address=cluster.address,
        workers=4,
        progress=kill_a_node_at_work,
    )
    assert killed
    assert capfd.readouterr() == ("", "")  # of Ray
    assert any("lost; what was begun there was made anew" in line for line in report.remarks)
    assert_equal(tmp_path / "s", local)


_ALONE = """
import sys
import time
from test_cluster import photos_in, run

def progress(done, total):
    if done:
        print("begun", flush=True)
        time.sleep(60)

if __name__ == "__main__":
    run(photos_in(sys.argv[1]), sys.argv[2], engine="ray", workers=2, progress=progress)
"""


def test_ctrl_c_ends_the_ray_that_was_started_for_the_command(
    photos: Manifest, local: Path, tmp_path: Path
) -> None:
    script = tmp_path / "alone.py"
    script.write_text(_ALONE)
    process = subprocess.Popen(
        [sys.executable, str(script), str(photos.root), str(tmp_path / "s")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "begun\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
    _, errors = process.communicate(timeout=60)
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert process.returncode == -signal.SIGINT
    assert FeatureStore.open(tmp_path / "s").finished_chunks < PHOTOS // CHUNK
    run(photos, tmp_path / "s", workers=2)
    assert_equal(tmp_path / "s", local)
