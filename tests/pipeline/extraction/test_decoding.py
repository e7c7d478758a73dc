"""Decoding anything that claims to be a picture: right, or refused with a short reason."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pipeline.extraction.pictures.decoding import Reading, UnreadableImageError, decode_content

USUAL = Reading()
ORANGE = Image.new("RGB", (8, 6), (200, 100, 50))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def ramp(side: int = 64) -> Image.Image:
    """A picture whose pixels all differ."""
    down, across = np.mgrid[0:side, 0:side] * (256 // side)
    return Image.fromarray(np.stack([across, down, np.full_like(down, 200)], 2).astype(np.uint8))


def lab(image: Image.Image) -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    found = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("L", "PNG"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("PA", "TIFF"),
        ("LA", "PNG"),
        ("LA", "TIFF"),
        ("RGBA", "PNG"),
        ("RGBA", "WEBP"),
        ("RGBA", "TIFF"),
        ("CMYK", "JPEG"),  # Pillow writes and reads them inverted, with the mark of Adobe
        ("CMYK", "TIFF"),
        ("YCbCr", "JPEG"),
        ("YCbCr", "TIFF"),
        ("RGB", "BMP"),
        ("RGB", "PPM"),
    ],
)
def test_every_colour_mode_becomes_rgb(mode: str, kind: str) -> None:
    source = ORANGE.convert(mode if mode != "PA" else "P").convert(mode)
    image = decode_content(encoded(source, kind), USUAL)
    assert (image.mode, image.size) == ("RGB", (8, 6))
    expected = np.asarray(source.convert("RGB"))[3, 3].astype(int)
    assert np.abs(np.asarray(image)[3, 3] - expected).max() <= 3


def test_lab_colours_become_rgb() -> None:
    image = decode_content(encoded(lab(ORANGE), "TIFF"), USUAL)
    assert np.abs(np.asarray(image).astype(int) - (200, 100, 50)).max() <= 2


def test_a_picture_of_one_bit_is_black_and_white() -> None:
    source = Image.fromarray(np.array([[True, False, False]]))
    for kind in ("PNG", "TIFF", "BMP"):
        pixels = np.asarray(decode_content(encoded(source, kind), USUAL))
        assert pixels[0].tolist() == [[255] * 3, [0] * 3, [0] * 3]


def test_cmyk_without_the_mark_of_adobe_is_read_as_if_it_had_one() -> None:
    content = encoded(ORANGE.convert("CMYK"), "JPEG")
    start = content.index(b"\xff\xee")  # the segment with the mark
    length = int.from_bytes(content[start + 2 : start + 4], "big") + 2
    bare = content[:start] + content[start + length :]
    assert decode_content(bare, USUAL).tobytes() == decode_content(content, USUAL).tobytes()


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparency_is_dropped_without_a_warning(mode: str) -> None:
    colour: Any = {"P": b"\x00\x80\xff", "L": 7, "RGB": (7, 7, 7)}[mode]
    source = Image.new(mode, (8, 8), 0 if mode == "P" else colour)
    image = decode_content(encoded(source, "PNG", transparency=colour), USUAL)
    assert image.tobytes() == source.convert("RGB").tobytes()


def test_the_colour_under_alpha_is_kept() -> None:
    hidden = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert decode_content(encoded(hidden, "PNG"), USUAL).getpixel((0, 0)) == (10, 20, 30)


@pytest.mark.parametrize(("kind", "order"), [("PNG", "<"), ("TIFF", "<"), ("TIFF", ">")])
def test_16_bit_grey_is_scaled_and_not_clipped(kind: str, order: str) -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], dtype=f"{order}u2")
    image = decode_content(encoded(Image.fromarray(values), kind), USUAL)
    assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_32_bit_grey_is_taken_for_16_bits() -> None:
    values = np.array([[-5, 256, 65535, 70000]], dtype=np.int32)
    image = decode_content(encoded(Image.fromarray(values), "TIFF"), USUAL)
    assert np.asarray(image)[0, :, 0].tolist() == [0, 1, 255, 255]


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(UnreadableImageError, match="no fixed range"):
        decode_content(encoded(Image.new("F", (4, 4)), "TIFF"), USUAL)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_picture_is_taken(kind: str) -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(first, kind, save_all=True, append_images=[second], **options)
    with Image.open(io.BytesIO(content)) as image:
        assert getattr(image, "n_frames", 1) == 2
    assert decode_content(content, USUAL).tobytes() == first.tobytes()


# --- orientation


def oriented(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "JPEG" else {}
    return encoded(ramp().crop((0, 0, 32, 16)), kind, exif=exif, **options)


def turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """What EXIF says of (H, W, 3): where the first row and the first column are shown."""
    return {
        1: pixels,
        2: pixels[:, ::-1],  # top, right
        3: pixels[::-1, ::-1],  # bottom, right
        4: pixels[::-1],  # bottom, left
        5: pixels.transpose(1, 0, 2),  # left, top
        6: pixels.transpose(1, 0, 2)[:, ::-1],  # right, top
        7: pixels.transpose(1, 0, 2)[::-1, ::-1],  # right, bottom
        8: pixels.transpose(1, 0, 2)[::-1],  # left, bottom
    }.get(orientation, pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(10))
def test_pictures_are_turned_only_if_that_is_asked_for(kind: str, orientation: int) -> None:
    content = oriented(kind, orientation)
    plain = np.asarray(decode_content(content, USUAL))
    assert plain.shape == (16, 32, 3)
    found = np.asarray(decode_content(content, Reading(exif="rotate")))
    assert np.array_equal(found, turned(plain, orientation))


@pytest.mark.parametrize("exif", ["ignore", "rotate"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_pillow_turns_tiff_pictures_in_any_case_and_only_once(
    exif: str, compression: str | None
) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    pixels = np.asarray(ramp().crop((0, 0, 32, 16)))
    content = encoded(Image.fromarray(pixels), "TIFF", exif=tags, compression=compression)
    found = np.asarray(decode_content(content, Reading(exif=exif)))
    assert np.array_equal(found, turned(pixels, 6))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\x00\x00damaged", b"Exif\x00\x00II*\x00\xff\xff\xff\x7f"])
def test_damaged_metadata_turn_nothing(exif: bytes) -> None:
    content = encoded(ORANGE, "JPEG", exif=exif)
    found = decode_content(content, Reading(exif="rotate"))
    assert found.tobytes() == decode_content(content, USUAL).tobytes()


# --- truncated


CUT = {"JPEG": 0.9, "PNG": 0.6, "GIF": 0.9, "BMP": 0.5, "PPM": 0.5, "TIFF": 0.5}


def cut(kind: str) -> bytes:
    content = encoded(ramp().convert("P") if kind == "GIF" else ramp(), kind)
    return content[: int(len(content) * CUT[kind])]


@pytest.mark.parametrize("kind", CUT)
def test_a_truncated_file_is_unreadable_or_used_as_pillow_does(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = cut(kind)
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode_content(content, USUAL)
    found = decode_content(content, Reading(truncated="use"))
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    with Image.open(io.BytesIO(content)) as image:
        assert found.tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize(("kind", "level"), [("JPEG", 128), ("PNG", 0), ("PPM", 0), ("TIFF", 0)])
def test_missing_pixels_are_grey_in_jpeg_and_black_elsewhere(kind: str, level: int) -> None:
    content = encoded(ramp(), kind)
    end = {"JPEG": 0.88, "PNG": 0.6, "PPM": 0.5, "TIFF": 0.5}[kind]
    found = decode_content(content[: int(len(content) * end)], Reading(truncated="use"))
    pixels = np.asarray(found).astype(int)
    assert np.abs(pixels[0] - np.asarray(ramp())[0]).max() <= 12  # what was there is there
    assert (pixels[-1, -1] == level).all()


@pytest.mark.parametrize("kind", ["WEBP", "JPEG"])
def test_too_little_of_a_file_cannot_be_used(kind: str) -> None:
    content = encoded(ramp(), kind)[: 40 if kind == "JPEG" else 200]
    with pytest.raises(UnreadableImageError):
        decode_content(content, Reading(truncated="use"))


def test_threads_that_use_truncated_files_do_not_loosen_those_that_skip_them() -> None:
    contents = [cut("JPEG"), cut("PNG"), encoded(ramp(), "JPEG")]

    def outcome(number: int) -> bool:
        reading = Reading(truncated=("skip", "use")[number % 2])
        try:
            decode_content(contents[number // 2 % 3], reading)
        except UnreadableImageError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(outcome, range(600)))
    assert found == [n % 2 == 1 or n // 2 % 3 == 2 for n in range(600)]
