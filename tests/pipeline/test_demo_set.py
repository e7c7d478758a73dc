"""The built-in demo set: always the same pictures, never a half-made folder."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache.errors import InputError
from pipeline.datasets import demo
from pipeline.datasets.manifest import Manifest


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Every eighth class of the set with all its pictures, rendered once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "ALPHABET", demo.ALPHABET[::8])
        patch.setenv("DML_CACHE", str(tmp_path_factory.mktemp("rendered")))
        return demo.demo_manifest()


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A set of four pictures under `tmp_path`, so that a test may render it several times."""
    monkeypatch.setenv("DML_CACHE", str(tmp_path / "base"))
    monkeypatch.setattr(demo, "ALPHABET", "A★")
    monkeypatch.setattr(demo, "PER_CLASS", 2)
    monkeypatch.setattr(demo, "TRAIN_PER_CLASS", 1)
    yield tmp_path / "base" / f"demo-v{demo.VERSION}"
    left = [path.name for path in tmp_path.glob("base/*") if path.name != f"demo-v{demo.VERSION}"]
    assert not left, f"scratch folders were left behind: {left}"


@pytest.mark.parametrize("index", [0, 1234])
def test_the_same_index_gives_the_same_pixels(index: int) -> None:
    assert demo.picture(index).tobytes() == demo.picture(index).tobytes()


def test_two_pictures_of_one_class_differ() -> None:
    first, second = (np.asarray(demo.picture(index), dtype=float) for index in (0, 1))
    assert np.abs(first - second).mean() > 5


def test_a_stored_picture_is_the_rendered_one(
    rendered: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = demo.PER_CLASS  # the first picture of the second class
    monkeypatch.setattr(demo, "ALPHABET", demo.ALPHABET[::8])
    with Image.open(rendered.root / rendered.paths[second]) as stored:
        coarse = [np.asarray(image.reduce(8), float) for image in (stored, demo.picture(second))]
    assert np.abs(coarse[0] - coarse[1]).max() < 5  # JPEG loses fine noise only


def test_the_set_has_64_classes_of_18_training_and_7_test_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "_is_complete", lambda folder: True)  # nothing has to be rendered
    whole = demo.demo_manifest()
    assert whole.splits is not None
    counts = Counter(zip(whole.labels, whole.splits, strict=True))
    assert len(set(whole.labels)) == 64
    assert len(whole) == 1600
    assert all(counts[label, "train"] == 18 for label in whole.labels)
    assert all(counts[label, "test"] == 7 for label in whole.labels)


def test_every_image_opens_as_rgb_and_none_occurs_twice(rendered: Manifest) -> None:
    contents = set()
    for path in rendered.paths:
        with Image.open(rendered.root / path) as image:
            assert (image.mode, image.size) == ("RGB", (demo.SIZE, demo.SIZE))
            contents.add(image.tobytes())
    assert len(contents) == len(rendered) == 8 * demo.PER_CLASS


@pytest.mark.slow
def test_of_all_1600_pictures_none_occurs_twice() -> None:
    count = demo.PER_CLASS * len(demo.ALPHABET)
    assert len({demo.picture(index).tobytes() for index in range(count)}) == count == 1600


def test_every_character_has_at_least_six_typefaces_and_a_name_of_its_own() -> None:
    assert min(len(demo.typefaces(character)) for character in demo.ALPHABET) >= 6
    assert len({demo.class_name(character) for character in demo.ALPHABET}) == len(demo.ALPHABET)


def test_the_second_call_renders_nothing(tiny: Path) -> None:
    calls: list[tuple[int, int]] = []
    first = demo.demo_manifest(lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert demo.demo_manifest(lambda done, total: pytest.fail("rendered again")) == first


def test_dml_cache_names_the_folder(tiny: Path) -> None:
    manifest = demo.demo_manifest()
    assert manifest.root == tiny
    assert manifest.splits == ("train", "test", "train", "test")
    assert (tiny / "manifest.csv").read_text(encoding="utf-8").startswith("path,label,split")


@pytest.mark.parametrize("lost", ["manifest.csv", "digest", "black-star/01.jpg"])
def test_a_half_made_folder_is_rendered_again(tiny: Path, lost: str) -> None:
    demo.demo_manifest()
    complete = (tiny / lost).read_bytes()
    (tiny / lost).unlink()
    demo.demo_manifest()
    assert (tiny / lost).read_bytes() == complete


def test_a_damaged_picture_is_rendered_again(tiny: Path) -> None:
    demo.demo_manifest()
    path = tiny / "latin-capital-a" / "00.jpg"
    complete = path.read_bytes()
    path.write_bytes(complete[:-100])
    demo.demo_manifest()
    assert path.read_bytes() == complete


def test_an_interrupted_rendering_leaves_nothing_under_the_name(tiny: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.demo_manifest(interrupt)
    assert not tiny.exists()


def test_a_second_process_that_was_faster_keeps_its_folder(tiny: Path, tmp_path: Path) -> None:
    demo.demo_manifest()
    shutil.move(tiny, tmp_path / "faster")

    def finish_first(done: int, total: int) -> None:
        if done == total:
            shutil.move(tmp_path / "faster", tiny)
            (tiny / "mark").touch()

    demo.demo_manifest(finish_first)
    assert (tiny / "mark").exists()


def test_a_folder_that_cannot_be_written_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DML_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="DML_CACHE") as caught:
        demo.demo_manifest()
    assert "\n" not in str(caught.value)
