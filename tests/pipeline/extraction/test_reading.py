"""Files that are not what they should be: each gets a short reason, and none stops the others."""

from __future__ import annotations

import os
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache.errors import InputError, UnreachableError
from pipeline.datasets.folder import folder_manifest
from pipeline.extraction import containers
from pipeline.extraction.pictures.decoding import Reading, UnreadableImageError, decode, read


def photo(file: Path, side: int = 64) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def _text(file: Path) -> None:
    file.write_text("this is no picture")


def _empty(file: Path) -> None:
    file.touch()


def _truncated(file: Path) -> None:
    photo(file).write_bytes(file.read_bytes()[:-1500])


def _truncated_header(file: Path) -> None:
    photo(file).write_bytes(file.read_bytes()[:30])


def _postscript(file: Path) -> None:
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")


def _missing(file: Path) -> None:
    pass


def _dangling(file: Path) -> None:
    file.symlink_to("nowhere")


def _loop(file: Path) -> None:
    file.symlink_to(file.name)


def _pipe(file: Path) -> None:
    os.mkfifo(file)


def _text_bomb(file: Path) -> None:
    """A PNG picture whose comment would fill the memory."""
    photo(file.with_suffix(".png")).rename(file)
    content = file.read_bytes()
    comment = b"zTXtComment\x00\x00" + zlib.compress(bytes(2**26))
    chunk = len(comment[4:]).to_bytes(4, "big") + comment + zlib.crc32(comment).to_bytes(4, "big")
    file.write_bytes(content[:33] + chunk + content[33:])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_text, "not a known image format"),
        (_empty, "empty file"),
        (_truncated, "truncated"),
        (_truncated_header, ""),
        (_postscript, "not a known image format"),
        (_missing, "file not found"),
        (_dangling, "link to nothing"),
        (_loop, "Too many levels of symbolic links"),
        (_pipe, "not a regular file"),
        (Path.mkdir, "is a directory"),
        (_text_bomb, "too large"),
    ],
)
def test_what_cannot_be_decoded_is_unreadable_with_a_short_reason(
    tmp_path: Path, make: object, reason: str
) -> None:
    file = tmp_path / "picture.jpg"
    make(file)  # type: ignore[operator]
    with pytest.raises(UnreadableImageError) as caught:
        decode(file)
    assert reason in str(caught.value)
    assert 0 < len(str(caught.value)) <= 120
    assert "\n" not in str(caught.value)


def test_an_impossible_path_is_unreadable() -> None:
    with pytest.raises(UnreadableImageError, match="null"):
        decode(Path("a\0b.jpg"))


def test_unicode_names_and_upper_case_suffixes_are_read(tmp_path: Path) -> None:
    file = tmp_path / "Äpfel 苹果.JPG"
    photo(file, side=8)
    assert decode(file).size == (8, 8)


# --- huge pictures and files


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [12, 30])
def test_a_decompression_bomb_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    file = photo(tmp_path / "picture.png", side)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow warns above it, refuses above 200
    with pytest.raises(UnreadableImageError, match="pixels"):
        decode(file)


def test_the_limit_of_pixels_can_be_lowered_and_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = photo(tmp_path / "picture.png", 30)
    with pytest.raises(UnreadableImageError, match="30 x 30 pixels, at most 899 allowed"):
        decode(file, Reading(max_pixels=899))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(file, Reading(max_pixels=900)).size == (30, 30)
    with pytest.raises(UnreadableImageError, match="at most 899 allowed"):
        decode(file, Reading(max_pixels=899))


def test_a_file_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "picture.jpg"
    with file.open("wb") as stream:
        stream.truncate(2**40)  # a hole: it takes no room on the disk
    with pytest.raises(UnreadableImageError, match="1099511627776 bytes are too many"):
        decode(file)


def test_an_entry_that_is_larger_than_its_archive_says_is_not_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "pictures.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(2**28))
    content = file.read_bytes()
    file.write_bytes(content.replace((2**28).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    tracemalloc.start()
    with pytest.raises(UnreadableImageError, match="damaged: wrong checksum"):
        decode(f"{file}::a.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


# --- files that change


def test_a_file_that_changed_or_vanished_since_it_was_listed_is_unreadable(tmp_path: Path) -> None:
    file = photo(tmp_path / "picture.png")
    size = containers.size_of(file)
    assert len(read(file, Reading(), expected=size)) == size
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(UnreadableImageError) as caught:
        read(file, Reading(), expected=size)
    said = f"changed since it was listed: {size} bytes then, {size + 4} bytes now"
    assert str(caught.value) == said
    with pytest.raises(UnreadableImageError, match="missing then"):
        read(file, Reading(), expected=-1)
    file.unlink()
    with pytest.raises(UnreadableImageError, match="file not found"):
        read(file, Reading(), expected=size)


def test_a_network_that_fails_is_not_blamed_on_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> bytes:
        raise UnreachableError("no network")

    monkeypatch.setattr(containers, "read_bytes", fail)
    with pytest.raises(UnreachableError):
        decode("memory://bucket/picture.jpg")


# --- folders


def test_a_folder_with_links_to_nothing_loops_and_folders_named_like_images_is_listed(
    tmp_path: Path,
) -> None:
    for name in ("cat", "dog", "dog/album.jpg"):
        (tmp_path / name).mkdir()
    photo(tmp_path / "dog" / "album.jpg" / "1.png")
    photo(tmp_path / "cat" / "1.png")
    (tmp_path / "cat" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "cat" / "loop.png").symlink_to("loop.png")
    (tmp_path / "cat" / "all").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    found = folder_manifest(tmp_path)
    assert found.ids == ("cat/1.png", "cat/gone.png", "cat/loop.png", "dog/album.jpg/1.png")


def test_a_name_that_is_no_text_is_refused_before_anything_else(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    try:
        (tmp_path / "cat" / os.fsdecode(b"\xff.png")).touch()
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(InputError, match=r"cat/.*\.png' is not UTF-8: rename it"):
        folder_manifest(tmp_path)
