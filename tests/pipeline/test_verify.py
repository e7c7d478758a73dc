"""`dml info --verify`: what is sound, what is wrong, and what could not be looked at."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cache.store import FeatureStore
from pipeline.backbones._backbone import Backbone, freeze
from pipeline.datasets.manifest import Manifest, make_manifest
from pipeline.extract import extract
from pipeline.extraction.pictures.decoding import Reading
from pipeline.extraction.pictures.images import Transform
from pipeline.extraction.pictures.views import Augmentation
from pipeline.verify import VerifyReport, verify

CHECKS = ("chunks", "sizes", "content", "facts", "canaries")
SOUND = dict.fromkeys(CHECKS, "sound")
TRANSFORM = Transform(
    resize=16, crop=16, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)


class TwoPools(nn.Module):
    """Two linear maps of the pixels, as if they were two pools."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(2, 8, 3 * 16 * 16, generator=generator) / 10)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([images.flatten(1) @ weight.T for weight in self.weight], dim=1)


def two_pools(seed: int = 0) -> Backbone:
    network = TwoPools(seed)
    return freeze(name="flat", model=network, network=network, transform=TRANSFORM, pool="avg,max")


@pytest.fixture(autouse=True)
def _loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backbone that is loaded, with whatever weights."""
    monkeypatch.setattr("pipeline.backbones.load_backbone", lambda *_, **__: two_pools())


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    names = [f"{number:02}.png" for number in range(20)]
    for name in names:
        pixels = generator.integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name, compress_level=0)
    return make_manifest(
        ids=names, paths=names, labels=[str(at % 3) for at in range(20)], root=folder
    )


@pytest.fixture
def make(manifest: Manifest, tmp_path: Path) -> Callable[..., FeatureStore]:
    def extracted(backbone: Backbone | None = None, **options: Any) -> FeatureStore:
        given = {"chunk_rows": 6, "device": "cpu", **options}
        extract(manifest, tmp_path / "some.zarr", backbone or two_pools(), **given)
        return FeatureStore.open(tmp_path / "some.zarr")

    return extracted


def statuses(report: VerifyReport) -> dict[str, str]:
    return {name: check.status for name, check in zip(CHECKS, report.checks, strict=True)}


def found(report: VerifyReport, name: str) -> str:
    return report.checks[CHECKS.index(name)].found


def rewrite(path: Path, seed: int) -> None:
    """Other pixels in a file of the same size."""
    before = path.stat().st_size
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8)
    Image.fromarray(pixels).save(path, compress_level=0)
    assert path.stat().st_size == before


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_a_store_just_made_is_sound_bit_for_bit_in_all_pools_and_views(make, dtype):
    store = make(dtype=dtype, augmentation=Augmentation(views=2, seed=3))
    report = verify(store, device="cpu", canaries=7)
    assert statuses(report) == SOUND
    assert report.faults == []
    assert report.differing == {}
    assert list(report.closeness) == ["avg", "max", "avg@1", "max@1", "avg@2", "max@2"]
    for each in report.closeness.values():
        assert (each.rows, each.equal, each.difference) == (7, 7, 0)


def test_canaries_are_spread_over_the_whole_store(make):
    assert verify(make(), device="cpu", canaries=3).canaries == ("00.png", "09.png", "19.png")
    assert len(verify(make(), device="cpu", canaries=99).canaries) == 20


def test_no_canaries_are_no_fault(make):
    report = verify(make(), device="cpu", canaries=0)
    assert statuses(report) == {**SOUND, "content": "not checked", "canaries": "not checked"}
    assert "none was asked for" in found(report, "canaries")


def test_a_damaged_chunk_is_named_and_gives_no_canaries(make):
    store = make()
    file = next(store.path.glob("features/c/1/*"))
    content = bytearray(file.read_bytes())
    content[5] ^= 1
    file.write_bytes(content)
    report = verify(store, device="cpu")
    assert statuses(report) == {**SOUND, "chunks": "wrong"}
    assert found(report, "chunks") == "1 of 4 chunks are damaged (1)"
    assert "--repair" in report.faults[0].advice
    assert len(report.canaries) == 14
    assert "06.png" not in report.canaries


def test_a_file_of_another_size_is_named(make, manifest):
    store = make()
    with open(manifest.root / "03.png", "ab") as file:
        file.write(b"more")
    report = verify(store, device="cpu")
    assert statuses(report) == {**SOUND, "sizes": "wrong"}
    assert found(report, "sizes") == "1 (03.png) of 20 files changed since"
    assert "--update" in report.faults[0].advice
    assert "03.png" not in report.canaries


def test_a_canary_of_other_content_and_equal_size_is_named(make, manifest):
    store = make()
    rewrite(manifest.root / "19.png", seed=1)
    report = verify(store, device="cpu", canaries=4)
    assert statuses(report) == {**SOUND, "content": "wrong"}
    assert "19.png" in found(report, "content")
    assert len(report.canaries) == 3


def test_features_of_other_images_are_far_from_their_canaries(make):
    store = make(dtype="float32")
    # As if the rows had been shifted before the checksums were taken.
    one, two = (next(store.path.glob(f"features/c/{number}/*")) for number in (0, 1))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    swapped = dict(store.ledger.chunks)
    for number, other in ((0, 1), (1, 0)):
        crc32c = {
            **store.ledger.chunks[number].crc32c,
            "features": store.ledger.chunks[other].crc32c["features"],
        }
        swapped[number] = replace(store.ledger.chunks[number], crc32c=crc32c)
    lines = b"".join(chunk.to_line() for chunk in swapped.values())
    (store.path / "ledger.jsonl").write_bytes(lines)
    report = verify(FeatureStore.open(store.path), device="cpu")
    assert statuses(report) == {**SOUND, "canaries": "wrong"}
    assert found(report, "canaries").startswith("12 (00.png, 01.png, 02.png, ...) of 20")
    assert report.closeness["max"].equal == 20


def test_moved_images_are_not_checked_and_that_is_no_fault(make, manifest):
    store = make()
    shutil.move(manifest.root, manifest.root.with_name("elsewhere"))
    report = verify(store, device="cpu")
    away = ("sizes", "content", "canaries")
    assert statuses(report) == {**SOUND, **dict.fromkeys(away, "not checked")}
    assert found(report, "sizes").startswith("20 of 20 are not where they were")
    assert report.faults == []


def test_some_missing_images_are_counted_and_the_others_checked(make, manifest):
    store = make()
    for name in ("00.png", "07.png"):
        (manifest.root / name).unlink()
    report = verify(store, device="cpu")
    assert statuses(report) == SOUND
    assert found(report, "sizes") == (
        "18 files; 2 of 20 are not where they were, and were not checked"
    )
    assert len(report.canaries) == 18


def test_images_that_could_not_be_read_are_no_canaries(make, manifest):
    (manifest.root / "04.png").write_bytes(b"no image")
    (manifest.root / "11.png").unlink()
    report = verify(make(), device="cpu")
    assert statuses(report) == SOUND
    assert len(report.canaries) == 18
    for each in report.closeness.values():
        assert each.equal == 18


def test_other_weights_are_named_and_embed_no_canaries(make):
    report = verify(make(two_pools(seed=1)), device="cpu")
    assert statuses(report) == {**SOUND, "facts": "wrong", "canaries": "not checked"}
    assert list(report.differing) == ["weights_sha256"]
    assert "--weights FILE" in report.faults[0].advice


def test_other_versions_are_named_and_the_canaries_decide(make, monkeypatch):
    store = make()
    monkeypatch.setattr("pipeline.verify.library_versions", lambda: {"torch": "99"})
    report = verify(store, device="cpu")
    assert statuses(report) == SOUND
    assert report.differing["versions"][1] == {"torch": "99"}
    assert '{"torch": "99"}' in found(report, "facts")


def test_the_way_of_reading_files_is_that_of_the_store(make, manifest):
    for name in ("02.png", "05.png"):
        file = manifest.root / name
        file.write_bytes(file.read_bytes()[:-500])
    reading = Reading(truncated="use", exif="rotate", max_pixels=1000)
    backbone = two_pools()
    backbone = replace(backbone, transform=replace(TRANSFORM, reading=reading))
    report = verify(make(backbone), device="cpu")
    assert statuses(report) == SOUND
    assert len(report.canaries) == 20


def test_an_incomplete_store_is_checked_as_far_as_it_is_there(make, manifest):
    def stop(done: int, total: int) -> None:
        if done > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(progress=stop)
    store = FeatureStore.open(manifest.root.parent / "some.zarr")
    report = verify(store, device="cpu")
    away = ("content", "canaries")
    assert statuses(report) == {**SOUND, **dict.fromkeys(away, "not checked")}
    assert "not complete" in found(report, "canaries")
    assert report.faults == []


def test_the_command_lays_the_checks_out(make, dml):
    answer = dml(f"info {make().path} --verify --canaries 5 --device cpu")
    assert answer.code == 0
    assert "5 images, 5 of them equal bit for bit" in " ".join(answer.out.split())
    assert "5 of 5" in answer.out


def test_the_command_ends_with_2_and_one_line_that_says_what_to_do(make, manifest, dml):
    store = make()
    (manifest.root / "03.png").write_bytes(b"more")
    answer = dml(f"info {store.path} --verify --canaries 5 --device cpu --json")
    assert answer.code == 2
    assert answer.json()["sound"] is False
    assert [each["status"] for each in answer.json()["checks"]].count("wrong") == 1
    last = answer.err.splitlines()[-1]
    assert last == (
        f"dml: {store.path}: sizes of the image files: 1 (03.png) of 20 files changed since: "
        "run the same `dml extract` again with --update"
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--canaries 3", "--canaries goes with --verify: add it, or leave --canaries out"),
        ("--device cpu", "--device goes with --verify: add it, or leave --device out"),
        ("--weights a.pth", "--weights goes with --verify: add it, or leave --weights out"),
        ("--threshold 1", "--threshold goes with --duplicates: add it, or leave --threshold out"),
        ("--verify --out a.csv", "--out goes with --duplicates: add it, or leave --out out"),
        ("--verify --duplicates", "--duplicates and --verify are two questions"),
        ("--verify --canaries -1", "Invalid value for '--canaries'"),
    ],
)
def test_options_that_would_do_nothing_are_refused(make, dml, words, line):
    assert dml(f"info {make().path} {words}").refusal().startswith(f"dml: {line}")
