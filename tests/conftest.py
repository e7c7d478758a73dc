"""What tests of whole commands start from: a small synthetic store, a few pictures, a backbone."""

from __future__ import annotations

import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import cli
from cache import FeatureStore, Fingerprint, StoreWriter, rows_digest
from cache.places import attempts, url_files
from pipeline.backbones._backbone import Backbone, freeze
from pipeline.extraction.pictures.images import Transform
from pipeline.runs import workspace

from .faulty import FaultyFileSystem

torch.set_num_threads(1)  # the tests run in one process for each core
os.environ.setdefault("OMP_NUM_THREADS", "1")  # other libraries in these, and commands they start


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the README's commands: they take longest, the others fill the time beside them."""
    items.sort(key=lambda item: "test_readme" not in item.nodeid)


CLASSES, TRAIN, TEST = 12, 192, 96
SIGNAL, NUISANCE = 6, 18  # features that tell the classes apart, and louder ones that do not


class Answer(NamedTuple):
    """What a command gave back: exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    def refusal(self) -> str:
        """The one line of a refused command; notes of finished steps may stand before it."""
        assert self.code == 2, self
        assert self.out == ""
        *notes, line = self.err.splitlines()
        assert all(each.endswith("...") for each in notes)
        assert line.startswith("dml: ")
        return str(line)

    def json(self) -> Any:
        """Read the one JSON value that standard output is; NaN and Infinity are no JSON."""
        assert self.out == self.out.lstrip()
        return json.loads(self.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def make_store(
    path: Path,
    labels: Sequence[str] = tuple(str(row % CLASSES) for row in range(TRAIN + TEST)),
    splits: Sequence[str] | None = ("train",) * TRAIN + ("test",) * TEST,
    true_labels: Sequence[str] | None = None,
    superlabels: Sequence[str] | None = None,
    drawn_for: Sequence[str] | None = None,
    backbone: str = "resnet50",
    chunks: int | None = None,
) -> FeatureStore:
    """Write a store of one Gaussian cloud per class, all of it or its first chunks.

    The features are drawn for the labels, or for the labels `drawn_for`.
    """
    names = list(drawn_for or labels)
    generator = np.random.default_rng(0)
    kinds = {name: at for at, name in enumerate(dict.fromkeys(names))}
    centres = 2.5 * generator.standard_normal((len(kinds), SIGNAL))
    values = generator.standard_normal((len(names), SIGNAL + NUISANCE))
    values[:, SIGNAL:] *= 3
    values[:, :SIGNAL] += centres[[kinds[name] for name in names]]
    ids = [f"{row:04}.jpg" for row in range(len(names))]
    columns = {"split": splits, "superlabel": superlabels, "true_label": true_labels}
    given = {name: column for name, column in columns.items() if column is not None}
    fingerprint = Fingerprint(
        backbone=backbone,
        weights_sha256="0" * 64,
        transform={"resize": 16},
        pool="avg",
        dtype="float32",
        num_features=SIGNAL + NUISANCE,
        precision="float32",
        rows_digest=rows_digest(ids, range(len(ids))),
        versions={"dml": "0.1.0"},
    )
    rows = pa.table({"id": ids, "path": ids, "label": labels} | given)
    with StoreWriter.create_or_resume(
        path, fingerprint=fingerprint, rows=rows, root="photos", chunk_rows=100
    ) as writer:
        for number in list(writer.pending)[:chunks]:
            place = writer.chunk(number)
            writer.write(number, values[place.start : place.stop].astype("float32"), {})
    return FeatureStore.open(path)


class Flat(nn.Module):
    """The simplest network: a linear map of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(8, 3 * 16 * 16, generator=generator) / 10)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T


@pytest.fixture(name="make_store")
def make_store_() -> Callable[..., FeatureStore]:
    """The function that writes a store; see above."""
    return make_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """12 classes in 192 training and 96 test rows; not to be changed."""
    return make_store(tmp_path_factory.mktemp("store") / "features.zarr")


@pytest.fixture
def home(tmp_path: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a copy of the store as the one that bare commands take."""
    shutil.copytree(store.path, tmp_path / "features.zarr")
    monkeypatch.chdir(tmp_path)
    workspace.point("store", tmp_path / "features.zarr")
    return tmp_path


@pytest.fixture
def dml(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run a command as a user would type it, in this process."""

    def run(line: str, *words: str) -> Answer:
        capsys.readouterr()
        code = cli.main([*line.split(), *words])
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of two class folders with three pictures each."""
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for number in range(3):
            pixels = generator.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "pictures"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a server that speaks S3, on this machine; it starts in a second or two."""
    from moto.server import ThreadedMotoServer  # what does not use it need not wait

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty bucket; the environment tells where it is, as it would a user's."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    url_files.forget_connections()
    url = f"s3://bucket-{uuid.uuid4().hex[:12]}"
    url_files.file_system(url).mkdir(url)
    yield url
    url_files.forget_connections()


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FaultyFileSystem]]:
    """The file system at `faulty://`, empty; nothing waits before it tries again."""
    monkeypatch.setattr("cache.places.attempts.PAUSES", (0.0,) * len(attempts.PAUSES))
    FaultyFileSystem.reset()
    yield FaultyFileSystem
    FaultyFileSystem.reset()


@pytest.fixture
def flat_backbone(monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A tiny network in the place of every backbone that a command loads."""
    transform = Transform(
        resize=16, crop=16, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )
    network = Flat()
    backbone = freeze(name="flat", model=network, network=network, transform=transform, pool="avg")
    monkeypatch.setattr("pipeline.backbones.load_backbone", lambda *_, **__: backbone)
    monkeypatch.setattr("pipeline.demo.load_backbone", lambda *_, **__: backbone)
    return backbone
