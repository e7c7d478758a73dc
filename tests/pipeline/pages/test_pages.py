"""The base of all pages, and the small pictures on them."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from pipeline import pages
from pipeline.pages import render
from pipeline.pages.thumbnails import data_uri, thumbnail
from pipeline.reporting.inline import VARIABLES

STYLE = (Path(pages.__file__).parent / "style.css").read_text(encoding="utf-8")


def opened(picture: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(picture))
    assert image.format == "JPEG"
    return image


def photo(path: Path, size: tuple[int, int] = (400, 200), **options: object) -> Path:
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, : size[0] // 2] = (250, 0, 0)
    Image.fromarray(pixels).save(path, **options)
    return path


def test_a_page_holds_its_style_and_asks_for_nothing_else():
    page = render("base.html", {})
    assert "--ground" in page
    assert "http" not in page
    assert not re.search(r"<script|@import|url\((?!data:)|src=", page)


def test_a_missing_variable_is_an_error_and_not_an_empty_place():
    with pytest.raises(UndefinedError):
        render("report.html", {})


def test_the_colours_of_figures_are_those_of_the_style():
    light = STYLE.split("@media (prefers-color-scheme: dark)")[0]
    found = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", light))
    assert {name: found[name] for name in VARIABLES.values()} == {
        name: colour for colour, name in VARIABLES.items()
    }


@pytest.mark.parametrize("part", ["light", "dark"])
def test_text_and_lines_stand_out_from_their_ground(part: str):
    light, dark = STYLE.split("@media (prefers-color-scheme: dark)")
    block = {"light": light, "dark": dark.split("*, *::before")[0]}[part]
    colours = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", block))
    for name, least in [("--ink", 7), ("--muted", 4.5), ("--accent", 4.5), ("--bad", 4.5)]:
        assert contrast(colours[name], colours["--ground"]) >= least, name
        assert contrast(colours[name], colours["--raised"]) >= least, name
    for number in range(1, 9):
        assert contrast(colours[f"--series-{number}"], colours["--ground"]) >= 3


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted([luminance(one), luminance(other)], reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_a_thumbnail_fits_its_square_and_keeps_the_proportions(tmp_path: Path):
    assert opened(thumbnail(photo(tmp_path / "a.png"), 100)).size == (100, 50)
    assert opened(thumbnail(photo(tmp_path / "b.png", (40, 20)), 100)).size == (40, 20)


def test_a_thumbnail_is_turned_as_the_camera_noted(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert opened(thumbnail(photo(tmp_path / "a.jpg", exif=exif), 100)).size == (50, 100)


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\xff\xd8\xff\xe0 cut"])
def test_a_removed_or_broken_picture_gives_a_grey_square(tmp_path: Path, content: bytes | None):
    file = tmp_path / "<img src=x>.jpg"
    if content is not None:
        file.write_bytes(content)
    image = opened(thumbnail(file, 64))
    assert image.size == (64, 64)
    values = np.asarray(image).astype(int)
    assert np.abs(values - values.mean(axis=2, keepdims=True)).max() < 12  # grey
    assert values.min() < 120  # with a word on it


def test_a_picture_whose_place_nobody_knows_has_a_placeholder():
    assert opened(thumbnail(None)).size == (160, 160)


def test_a_data_uri_holds_the_very_bytes():
    kind, _, text = data_uri(b"\xff\xd8abc").partition(",")
    assert kind == "data:image/jpeg;base64"
    assert base64.b64decode(text) == b"\xff\xd8abc"
