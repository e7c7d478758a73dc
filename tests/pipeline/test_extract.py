"""Extraction: rows stay in place whatever happens to the files, the process or the numbers."""

from __future__ import annotations

import csv
import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from cache.errors import InputError, StoreMismatchError
from cache.revision import Changes
from cache.store import FeatureStore
from pipeline.backbones import load_backbone
from pipeline.backbones._backbone import Backbone, freeze
from pipeline.datasets.manifest import Manifest, make_manifest
from pipeline.extract import ExtractReport, extract
from pipeline.extraction import loading
from pipeline.extraction.embed import embed_files, pick_device
from pipeline.extraction.pictures.decoding import Reading, decode, read
from pipeline.extraction.pictures.images import Transform, normalise, prepare

GROCERY = Path(__file__).parents[2].parent / "shared" / "data" / "grocery"
TRANSFORM = Transform(
    resize=16, crop=16, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)


class Flat(nn.Module):
    """The simplest network: a linear map of the pixels."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(8, 3 * 16 * 16, generator=generator) * scale)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T


def flat(scale: float = 0.1) -> Backbone:
    network = Flat(scale)
    return freeze(name="flat", model=network, network=network, transform=TRANSFORM, pool="avg")


def photos(root: Path, count: int) -> Manifest:
    generator = np.random.default_rng(0)
    names = [f"{number:04}.png" for number in range(count)]
    for name in names:
        pixels = generator.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(root / name, compress_level=0)
    labels = [str(number % 3) for number in range(count)]
    return make_manifest(ids=names, paths=names, labels=labels, root=root)


def expected(manifest: Manifest, backbone: Backbone, row: int) -> NDArray[np.float32]:
    pixels = prepare(decode(manifest.root / manifest.paths[row]), backbone.transform)
    batch = torch.from_numpy(pixels[None].copy())
    features: NDArray[np.float32] = backbone.embed(normalise(batch, backbone.transform)).numpy()[0]
    return features


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("embed")]


def run(manifest: Manifest, store: Path, backbone: Backbone, **options: object) -> ExtractReport:
    return extract(manifest, store, backbone, **{"device": "cpu", "workers": 2} | options)  # type: ignore[arg-type]


def test_every_row_gets_its_own_features(tmp_path: Path) -> None:
    manifest, backbone = photos(tmp_path, 70), flat()
    seen: list[tuple[int, int]] = []
    report = run(
        manifest, tmp_path / "s", backbone, batch_size=16, progress=lambda *now: seen.append(now)
    )
    assert (report.rows, report.readable, dict(report.unreadable)) == (70, 70, {})
    assert (report.resumed_chunks, report.already_complete, report.changes) == (0, False, Changes())
    assert report.images_per_second > 0
    assert (seen[0], seen[-1]) == ((0, 70), (70, 70))
    features = FeatureStore.open(tmp_path / "s").read()
    assert features.values.dtype == np.float16
    for row in (0, 15, 16, 69):
        assert np.allclose(features.values[row], expected(manifest, backbone, row), atol=0.05)
    assert threads() == []


def test_unreadable_files_are_listed_and_shift_nothing(tmp_path: Path) -> None:
    manifest, backbone = photos(tmp_path, 20), flat()
    (tmp_path / "0003.png").write_text("no picture")
    (tmp_path / "0007.png").write_bytes(b"")
    (tmp_path / "0019.png").unlink()
    report = run(manifest, tmp_path / "s", backbone, batch_size=8, dtype="float32")
    assert dict(report.unreadable) == {
        "0003.png": "not a known image format",
        "0007.png": "empty file",
        "0019.png": "file not found",
    }
    assert report.readable == 17
    features = FeatureStore.open(tmp_path / "s").read()
    ids = features.rows["id"].to_pylist()
    assert len(ids) == 17
    for place, row_id in enumerate(ids):
        row = manifest.ids.index(row_id)
        assert np.allclose(features.values[place], expected(manifest, backbone, row), atol=0.05)


def test_a_second_run_says_that_it_is_complete_and_computes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, backbone = photos(tmp_path, 10), flat()
    (tmp_path / "0003.png").write_text("no picture")
    first = run(manifest, tmp_path / "s", backbone)
    monkeypatch.setattr(loading, "read", None)
    again = run(manifest, tmp_path / "s", backbone)
    assert again.already_complete
    assert (again.resumed_chunks, again.images_per_second) == (1, 0)
    assert again.unreadable == first.unreadable


def test_an_interrupted_extraction_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    manifest, backbone = photos(tmp_path, 1100), flat()
    (tmp_path / "0600.png").write_text("no picture")

    def interrupt(done: int, _total: int) -> None:
        if done > 700:
            raise KeyboardInterrupt

    before = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        run(manifest, tmp_path / "a", backbone, progress=interrupt)
    assert threads() == []
    assert torch.get_num_threads() == before
    assert FeatureStore.open(tmp_path / "a").finished_chunks == 1
    report = run(manifest, tmp_path / "a", backbone)
    assert (report.resumed_chunks, report.already_complete) == (1, False)
    run(manifest, tmp_path / "b", backbone)
    resumed, whole = (FeatureStore.open(tmp_path / name).read() for name in "ab")
    assert np.array_equal(resumed.values, whole.values)
    assert resumed.rows.equals(whole.rows)
    assert len(resumed.values) == 1099


def test_features_that_do_not_fit_the_dtype_are_listed(tmp_path: Path) -> None:
    manifest = photos(tmp_path, 4)
    Image.new("RGB", (16, 16), (128, 128, 128)).save(tmp_path / "0002.png")
    report = run(manifest, tmp_path / "s", flat(scale=1e5))
    assert set(report.unreadable) == {"0000.png", "0001.png", "0003.png"}
    assert "too large for float16" in report.unreadable["0000.png"]
    assert run(manifest, tmp_path / "t", flat(scale=1e5), dtype="float32").readable == 4


def test_features_that_are_not_numbers_are_listed_and_all_of_them_is_an_error(
    tmp_path: Path,
) -> None:
    manifest = photos(tmp_path, 4)
    with pytest.raises(InputError, match=r"none of the 4 images.*0000\.png: features are not"):
        run(manifest, tmp_path / "s", flat(scale=float("nan")))


def test_changed_labels_are_brought_up_to_date_without_the_network(tmp_path: Path) -> None:
    manifest, backbone = photos(tmp_path, 10), flat()
    run(manifest, tmp_path / "s", backbone)
    relabelled = dataclasses.replace(manifest, labels=("new", *manifest.labels[1:]))
    report = run(relabelled, tmp_path / "s", backbone)
    assert (report.changes.relabelled, report.already_complete) == (1, True)


def test_other_files_weights_or_pixels_are_another_store(tmp_path: Path) -> None:
    manifest, backbone = photos(tmp_path, 10), flat()
    run(manifest, tmp_path / "s", backbone)
    with pytest.raises(StoreMismatchError, match="weights_sha256"):
        run(manifest, tmp_path / "s", flat(scale=0.2))
    other = dataclasses.replace(backbone, transform=dataclasses.replace(TRANSFORM, resize=17))
    with pytest.raises(StoreMismatchError, match="transform"):
        run(manifest, tmp_path / "s", other)
    (tmp_path / "0000.png").write_text("longer or shorter")
    with pytest.raises(StoreMismatchError, match="rows_digest"):
        run(manifest, tmp_path / "s", backbone)


def test_decoding_stays_a_bounded_number_of_batches_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, backbone = photos(tmp_path, 40), flat()
    decoded: list[Path] = []

    def count(path: Path, reading: Reading, *, expected: int | None) -> bytes:
        decoded.append(path)
        return read(path, reading, expected=expected)

    monkeypatch.setattr(loading, "read", count)
    batches = embed_files(
        backbone,
        manifest.paths,
        [range(40)],
        ids=manifest.ids,
        root=manifest.root,
        device=torch.device("cpu"),
        precision="float32",
        batch_size=2,
        workers=2,
    )
    assert next(batches).files == range(2)
    batches.close()
    assert len(decoded) <= 2 * (2 + 2)  # batches of 2: one for each worker, and two to spare
    assert threads() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch size is 0"),
        ({"workers": 0}, "number of workers is 0"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"dtype": "int4"}, "int4"),
    ],
)
def test_a_bad_option_is_refused_before_anything_is_made(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(photos(tmp_path, 3), tmp_path / "s", flat(), **options)
    assert not (tmp_path / "s").exists()


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"no device 'cuda', only .*cpu"):
        pick_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_and_the_cpu_agree(tmp_path: Path) -> None:
    manifest, backbone = photos(tmp_path, 70), load_backbone("efficientnet_lite0")
    on_cpu = run(manifest, tmp_path / "a", backbone, batch_size=16)
    on_cuda = run(manifest, tmp_path / "b", backbone, batch_size=16, device="cuda")
    assert (on_cpu.device, on_cuda.device) == ("cpu", "cuda")
    left, right = (FeatureStore.open(tmp_path / name).read().values for name in "ab")
    assert cosines(left, right).min() > 0.99


def cosines(left: NDArray[np.floating], right: NDArray[np.floating]) -> NDArray[np.float64]:
    a, b = left.astype(np.float64), right.astype(np.float64)
    cosine: NDArray[np.float64] = (a * b).sum(1) / np.linalg.norm(a, axis=1)
    return cosine / np.linalg.norm(b, axis=1)


@pytest.mark.skipif(not GROCERY.is_dir(), reason="the grocery photos are not beside the repository")
def test_real_photos_agree_with_the_reference_features(tmp_path: Path) -> None:
    with (GROCERY / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[::80]
    paths = [row["path"] for row in rows]
    labels = [row["label"] for row in rows]
    manifest = make_manifest(ids=paths, paths=paths, labels=labels, root=GROCERY)
    run(manifest, tmp_path / "s", load_backbone("efficientnet_lite0"))
    ours = FeatureStore.open(tmp_path / "s").read().values
    reference = np.load(GROCERY / "reference_efficientnet_lite0.npy", mmap_mode="r")[::80]
    cosine = cosines(ours, reference)
    assert cosine.min() >= 0.995
    assert cosine.mean() >= 0.999
