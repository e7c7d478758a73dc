"""Decoding anything that claims to be a picture, and torchvision's pixels bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from cache.errors import InputError
from pipeline.extraction.images import Transform, UnreadableImageError, decode, normalise, prepare

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    shape = (height, width) if bands == 1 else (height, width, bands)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def transform(*, resize: int, crop: int, interpolation: str, squash: bool = False) -> Transform:
    return Transform(
        resize=resize, crop=crop, interpolation=interpolation, mean=MEAN, std=STD, squash=squash
    )


@pytest.mark.parametrize("size", [(64, 64), (101, 57), (57, 101), (40, 300), (20, 21), (33, 32)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "crop"), [(37, 32), (32, 32), (36, 31)])
def test_the_input_equals_torchvisions_eval_transform_bit_for_bit(
    size: tuple[int, int], interpolation: str, resize: int, crop: int
) -> None:
    image = noise(*size)
    reference = transforms.Compose(
        [
            transforms.Resize(resize, InterpolationMode(interpolation)),
            transforms.CenterCrop(crop),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    ours = transform(resize=resize, crop=crop, interpolation=interpolation)
    pixels = prepare(image, ours)
    assert pixels.dtype == np.uint8
    batch = torch.from_numpy(pixels[None].copy())
    assert torch.equal(normalise(batch, ours)[0], reference(image))


def test_squashing_ignores_the_proportions() -> None:
    image = noise(50, 20)
    ours = prepare(image, transform(resize=16, crop=16, interpolation="bilinear", squash=True))
    expected = image.resize((16, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(ours, np.asarray(expected).transpose(2, 0, 1))


def test_a_crop_that_does_not_fit_or_an_unknown_interpolation_is_refused() -> None:
    with pytest.raises(InputError, match="crop is 40"):
        transform(resize=32, crop=40, interpolation="bilinear")
    with pytest.raises(InputError, match="cubic"):
        transform(resize=32, crop=32, interpolation="cubic")


def test_the_facts_of_a_transform_state_antialiasing_and_rotation() -> None:
    facts = transform(resize=32, crop=32, interpolation="bilinear").to_json()
    assert facts["antialias"] is True
    assert facts["exif_rotation"] is False


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("L", "png"),
        ("1", "png"),
        ("P", "png"),
        ("P", "gif"),
        ("LA", "png"),
        ("RGBA", "png"),
        ("RGBA", "webp"),
        ("CMYK", "jpg"),
        ("CMYK", "tif"),
        ("RGB", "bmp"),
        ("RGB", "ppm"),
    ],
)
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    file = tmp_path / f"picture.{suffix}"
    source = Image.new("RGB", (8, 6), (200, 100, 50)).convert(mode)
    source.save(file)
    image = decode(file)
    assert (image.mode, image.size) == ("RGB", (8, 6))
    expected = source.convert("RGB").getpixel((3, 3))
    assert np.allclose(image.getpixel((3, 3)), expected, atol=12)


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    Image.new("P", (8, 8)).save(file, transparency=b"\x00\x80\xff")
    assert decode(file).mode == "RGB"


def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    values = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(file)
    assert np.asarray(decode(file))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "picture.tif"
    Image.new("F", (4, 4)).save(file)
    with pytest.raises(UnreadableImageError, match="no fixed range"):
        decode(file)


def test_a_picture_is_not_turned_by_its_exif_orientation(tmp_path: Path) -> None:
    file = tmp_path / "picture.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees
    noise(20, 10).save(file, exif=exif)
    assert decode(file).size == (20, 10)


def _text(file: Path) -> None:
    file.write_text("this is no picture")


def _empty(file: Path) -> None:
    file.touch()


def _truncated(file: Path) -> None:
    noise(64, 64).save(file, "JPEG")
    file.write_bytes(file.read_bytes()[:-1500])


def _truncated_header(file: Path) -> None:
    noise(64, 64).save(file, "JPEG")
    file.write_bytes(file.read_bytes()[:30])


def _postscript(file: Path) -> None:
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")


def _missing(file: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_text, "not a known image format"),
        (_empty, "empty file"),
        (_truncated, "truncated"),
        (_truncated_header, ""),
        (_postscript, "not a known image format"),
        (_missing, "file not found"),
        (Path.mkdir, "directory"),
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


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [12, 30])
def test_a_decompression_bomb_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    file = tmp_path / "picture.png"
    noise(side, side).save(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow warns above it, refuses above 200
    with pytest.raises(UnreadableImageError, match="pixels"):
        decode(file)


def test_unicode_names_and_upper_case_suffixes_are_read(tmp_path: Path) -> None:
    file = tmp_path / "Äpfel 苹果.JPG"
    noise(8, 8).save(file)
    assert decode(file).size == (8, 8)
