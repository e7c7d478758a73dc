"""Hashes of image files: made during the pass, and what they say about copies."""

from __future__ import annotations

import hashlib
import io
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.extraction.embed import UnreadableFileError
from pipeline.extraction.loading import HASH_BYTES
from pipeline.extraction.pictures.hashes import content_hash, difference_hash

from .conftest import NAMES, Embed

GROCERY = Path(__file__).parents[3].parent / "shared" / "data" / "grocery"


def hashes(found: dict[str, object]) -> NDArray[np.uint8]:
    return np.concatenate([batch.images for batch in found["batches"]])  # type: ignore[attr-defined]


def bits_by_hand(image: Image.Image) -> list[int]:
    """Average 9 x 8 equal blocks of a grey picture; a bit says that it gets brighter."""
    grey = np.asarray(image.convert("L")).astype(float)
    down, across = grey.shape[0] // 8, grey.shape[1] // 9
    bits = []
    for row in range(8):
        means = [
            round(grey[row * down : (row + 1) * down, at * across : (at + 1) * across].mean())
            for at in range(9)
        ]
        bits += [int(right > left) for left, right in pairwise(means)]
    return bits


def test_the_difference_hash_is_that_of_a_loop_in_plain_steps() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        blocks = Image.fromarray(generator.integers(0, 256, (8, 9, 3), np.uint8))
        image = blocks.resize((90, 64), Image.Resampling.NEAREST)
        assert np.unpackbits(difference_hash(image)).tolist() == bits_by_hand(image)


def test_plain_pictures_have_no_bits() -> None:
    assert not difference_hash(Image.new("RGB", (50, 40), "red")).any()


@pytest.mark.skipif(not GROCERY.is_dir(), reason="the grocery photos are not beside the repository")
def test_copies_of_photos_differ_in_few_bits_and_other_photos_in_many() -> None:
    files = sorted(GROCERY.rglob("*.jpg"))[::200]
    photos = [Image.open(file).convert("RGB") for file in files]
    first = np.array([np.unpackbits(difference_hash(photo)) for photo in photos])  # (N, 64)
    copies = []
    for photo in photos:
        stream = io.BytesIO()
        photo.resize((200, 190)).save(stream, "JPEG", quality=60)
        copies.append(np.unpackbits(difference_hash(Image.open(stream).convert("RGB"))))
    distances = (first[:, None] != np.array(copies)).sum(axis=2)  # (N, N)
    assert np.diag(distances).max() <= 5
    assert np.median(distances[~np.eye(len(files), dtype=bool)]) >= 20


def test_each_image_gets_its_hashes_during_the_pass(embed: Embed, folder: Path) -> None:
    found = hashes(embed())
    assert (found.shape, found.dtype) == ((len(NAMES), HASH_BYTES), np.uint8)
    for name, row in zip(NAMES, found, strict=True):
        assert row[:32].tobytes() == hashlib.sha256((folder / name).read_bytes()).digest()
        with Image.open(folder / name) as image:
            assert np.array_equal(row[32:], difference_hash(image))


def test_a_picture_in_an_archive_has_the_hashes_of_its_file(embed: Embed, folder: Path) -> None:
    with zipfile.ZipFile(folder / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in NAMES:
            archive.write(folder / name, name)
    packed = hashes(embed([f"all.zip::{name}" for name in NAMES]))
    assert np.array_equal(packed, hashes(embed()))


def test_of_unreadable_images_only_what_was_read_is_hashed(embed: Embed, folder: Path) -> None:
    (folder / NAMES[2]).write_text("no picture")
    (folder / NAMES[5]).unlink()
    (folder / NAMES[7]).write_bytes(b"")
    found = embed()
    rows = hashes(found)
    assert rows[2, :32].tobytes() == hashlib.sha256(b"no picture").digest()
    assert not rows[5].any()
    assert np.array_equal(rows[7, :32], content_hash(b""))
    assert not rows[[2, 7], 32:].any()
    reasons = {
        place: reason for batch in found["batches"] for place, reason in batch.unreadable.items()
    }
    assert reasons == {2: "not a known image format", 5: "file not found", 7: "empty file"}


def test_a_run_that_is_to_stop_names_the_first_bad_image_and_keeps_what_was_before(
    embed: Embed, folder: Path
) -> None:
    (folder / NAMES[9]).write_text("no picture")
    (folder / NAMES[6]).unlink()
    with pytest.raises(UnreadableFileError) as caught:
        embed(unreadable="stop", batch_size=2)
    assert str(caught.value).startswith("6.png cannot be read: file not found: mend it and go on")
    assert "\n" not in str(caught.value)
    assert len(embed(NAMES[:6], unreadable="stop")["batches"]) == 2


def test_files_that_changed_since_they_were_listed_are_unreadable(
    embed: Embed, folder: Path
) -> None:
    sizes = [(folder / name).stat().st_size for name in NAMES]
    (folder / NAMES[3]).write_bytes((folder / NAMES[4]).read_bytes() + b"more")
    found = embed(sizes=sizes, batch_size=16)
    (batch,) = found["batches"]
    assert list(batch.unreadable) == [3]
    assert "changed since it was listed" in batch.unreadable[3]
