"""The built-in demo set: rendered characters, made on first use, without a network.

The same character is the class: 64 letters, digits and symbols, each drawn 18 times for training
and 7 times for testing, in the typefaces that come with matplotlib, in changing pose, colour,
background and sharpness. Image i depends on `VERSION` and i alone.

It is synthetic. It shows what label noise does to training and what a robust method saves, in a
minute and without a download; it is no benchmark, and no claim about real photographs follows
from it. The pixels are the same wherever numpy, Pillow and matplotlib are the same versions.
"""

from __future__ import annotations

import colorsys
import csv
import hashlib
import os
import tempfile
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import platformdirs
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from cache.errors import InputError
from pipeline.datasets.manifest import Manifest, make_manifest

VERSION = 1  # raise it whenever a pixel changes: it names the folder and seeds the pictures
SIZE = 128
TRAIN_PER_CLASS = 18
PER_CLASS = 25

# Left out: whatever a person confuses after a turn or a change of case (O o 0, C c, 6 9, n u, Z N).
ALPHABET = "ABEFGHJKLMNQRSTUXYaegr23478ΘΞΠΣΨΩΦωξλЖДШ&@§¶#%?€∞√☂♞★♥☎♫❄✈⚓☀☯✂☺♣"
FULL_TYPEFACES = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *("DejaVuSerif", "DejaVuSerif-Bold", "STIXGeneral", "STIXGeneralBol"),
)  # no true italics: their a, g and Д are other shapes
TEX_TYPEFACES = ("cmr10", "cmb10", "cmss10", "cmtt10")  # letters and digits only: odd codes else

Rng = np.random.Generator
Array = npt.NDArray[np.floating[Any]]
CANVAS = 2 * SIZE  # where a glyph is drawn flat, with room around it, before it is posed


@cache
def typefaces(character: str) -> tuple[str, ...]:
    """Names of the typefaces that have the character."""
    full = tuple(name for name in FULL_TYPEFACES if ord(character) in _characters(name))
    return full + TEX_TYPEFACES if character.isascii() and character.isalnum() else full


@cache
def _characters(typeface: str) -> frozenset[int]:
    return frozenset(FT2Font(_font_file(typeface)).get_charmap())


def _font_file(typeface: str) -> str:
    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{typeface}.ttf"))


@cache
def _font(typeface: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(
        _font_file(typeface), CANVAS // 2, layout_engine=ImageFont.Layout.BASIC
    )


def class_name(character: str) -> str:
    """A name for folders and labels, safe where file names ignore case: `latin-small-a`."""
    return unicodedata.name(character).lower().replace(" letter", "").replace(" ", "-")


def glyph_mask(rng: Rng, character: str, *, size: float, offset: float, turn: float) -> Array:
    """The character in a random typeface and pose, as coverage (SIZE, SIZE) in [0, 1].

    `size` is its longer side and `offset` the greatest shift of its centre, both as shares of
    the picture; `turn` is the greatest rotation in radians.
    """
    names = typefaces(character)
    font = _font(names[rng.integers(len(names))])
    left, top, right, bottom = font.getbbox(character, anchor="ls")
    flat = Image.new("L", (CANVAS, CANVAS))
    origin = ((CANVAS - left - right) / 2, (CANVAS - top - bottom) / 2)
    ImageDraw.Draw(flat).text(origin, character, fill=255, font=font, anchor="ls")
    zoom = max(right - left, bottom - top) / (size * CANVAS)
    quad = _viewing_quad(rng, zoom=zoom, offset=offset, turn=turn)
    posed = flat.transform((SIZE, SIZE), Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)
    return np.asarray(posed, dtype=np.float32) / 255


def _viewing_quad(rng: Rng, *, zoom: float, offset: float, turn: float) -> tuple[float, ...]:
    """Where the picture's corners lie on the flat glyph: a turn, a squeeze, a shear and a tilt."""
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]], dtype=float)  # NW SW SE NE
    corners = corners * (1 + rng.uniform(-0.08, 0.08, corners.shape))
    corners = corners - 2 * rng.uniform(-offset, offset, 2)
    angle = rng.uniform(-turn, turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    squeeze, shear = np.exp(rng.uniform(-0.1, 0.1)), rng.uniform(-0.12, 0.12)
    pose = rotation @ np.array([[squeeze, shear], [0, 1 / squeeze]]) * zoom
    return tuple(((corners @ pose.T + 1) * CANVAS / 2).ravel())


def palette(rng: Rng, *, contrast: float) -> tuple[Array, Array, Array]:
    """Two colours for the ground and one for the ink, whose lightness differs by `contrast`."""
    while True:
        hsv = rng.uniform((0, 0.15, 0.15), (1, 0.85, 1.0), (3, 3))
        ground, other, ink = (np.array(colorsys.hsv_to_rgb(*colour)) for colour in hsv)
        lightness = np.array([ground, other, ink]) @ (0.299, 0.587, 0.114)
        if np.abs(lightness[2] - lightness[:2]).min() > contrast:
            return ground, other, ink


def ground_pattern(rng: Rng) -> Array:
    """How far the second ground colour replaces the first: (SIZE, SIZE) in [0, 1]."""
    line = np.linspace(-1, 1, SIZE)
    x, y = line[None, :], line[:, None]
    angle, centre = rng.uniform(0, 2 * np.pi), rng.uniform(-1, 1, 2)
    along: Array = x * np.cos(angle) + y * np.sin(angle)
    across: Array = y * np.cos(angle) - x * np.sin(angle)
    waves = rng.uniform(4, 18)
    match rng.integers(6):
        case 0:
            return np.full((SIZE, SIZE), rng.uniform())
        case 1:
            return (along + 1.5) / 3
        case 2:
            return _soft_steps(np.sin(waves * along))
        case 3:
            return _soft_steps(np.sin(waves * along) * np.sin(waves * across))
        case 4:
            return _soft_steps(np.sin(waves * np.hypot(x - centre[0], y - centre[1])))
        case _:
            return _blobs(rng, cells=int(rng.integers(3, 12)))


def _soft_steps(wave: Array) -> Array:
    return (1 + np.tanh(4 * wave)) / 2


def _blobs(rng: Rng, *, cells: int) -> Array:
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    return np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC)) / 255


def picture(index: int) -> Image.Image:
    """Render image `index` of the set, SIZE x SIZE RGB; its class is `index // PER_CLASS`."""
    rng = np.random.default_rng((VERSION, index))
    ground, other, ink = palette(rng, contrast=0.3)
    pixels = blend(
        np.ones((SIZE, SIZE, 3), np.float32) * ground.astype(np.float32),
        other,
        ground_pattern(rng) * rng.uniform(0.2, 0.6),
    )
    for _ in range(rng.integers(0, 4)):
        stray = ALPHABET[rng.integers(len(ALPHABET))]
        mask = glyph_mask(rng, stray, size=rng.uniform(0.3, 0.8), offset=0.6, turn=np.pi)
        pixels = blend(pixels, rng.uniform(0, 1, 3), mask * rng.uniform(0.1, 0.25))
    character = ALPHABET[index // PER_CLASS]
    mask = glyph_mask(rng, character, size=rng.uniform(0.65, 0.85), offset=0.06, turn=0.25)
    shadow = np.roll(mask, rng.integers(-4, 5, 2), axis=(0, 1))
    pixels = blend(pixels, np.zeros(3), shadow * rng.uniform(0, 0.4))
    pixels = blend(pixels, ink, mask * rng.uniform(0.85, 1))
    return degrade(rng, pixels)


def blend(pixels: Array, colour: Array, mask: Array) -> Array:
    """Lay one colour over (SIZE, SIZE, 3) pixels as far as the mask (SIZE, SIZE) says."""
    return pixels + (colour.astype(np.float32) - pixels) * mask.astype(np.float32)[..., None]


def degrade(rng: Rng, pixels: Array) -> Image.Image:
    """Blur, uneven light and sensor noise."""
    light = 1 + rng.uniform(0, 0.35) * (_blobs(rng, cells=3)[..., None] - 0.5)
    sharp = Image.fromarray(np.uint8(np.clip(pixels * light, 0, 1) * 255))
    blurred = sharp.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.0)))
    noisy = np.asarray(blurred) + rng.uniform(1, 7) * rng.standard_normal(
        (SIZE, SIZE, 3), np.float32
    )
    return Image.fromarray(np.uint8(np.clip(noisy, 0, 255)))


def demo_manifest(progress: Callable[[int, int], None] = lambda done, total: None) -> Manifest:
    """The demo set as a manifest with a train and a test split; rendered on the first call.

    It lies in the user's cache folder, or under the folder that DML_CACHE names. A folder that
    is damaged or half made is rendered again; two processes at the same time do no harm.

    Args:
        progress: Told (pictures done, pictures in all) while rendering.

    Raises:
        InputError: The folder cannot be written.
    """
    base = Path(os.environ.get("DML_CACHE") or platformdirs.user_cache_dir("dml")).expanduser()
    folder = base.absolute() / f"demo-v{VERSION}"
    if not _is_complete(folder):
        try:
            _make(folder, progress)
        except OSError as error:
            raise InputError(
                f"cannot write the demo set to {folder} ({error.strerror or error}): set the "
                "environment variable DML_CACHE to a writable folder with 20 MB free"
            ) from error
    paths, labels, splits = zip(*_rows(), strict=True)
    return make_manifest(ids=paths, paths=paths, labels=labels, splits=splits, root=folder)


def _rows() -> list[tuple[str, str, str]]:
    """Path, label and split of every picture, by index."""
    rows = []
    for name in map(class_name, ALPHABET):
        for number in range(PER_CLASS):
            split = "train" if number < TRAIN_PER_CLASS else "test"
            rows.append((f"{name}/{number:02d}.jpg", name, split))
    return rows


def _make(folder: Path, progress: Callable[[int, int], None]) -> None:
    """Render next to the folder, then swap: nobody ever sees a half-made set under its name."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        made = Path(scratch, "made")
        _render_into(made, progress)
        if _is_complete(folder):
            return  # another process was faster
        with suppress(FileNotFoundError):
            folder.rename(Path(scratch, "damaged"))
        try:
            made.rename(folder)
        except OSError:
            if not _is_complete(folder):
                raise


def _render_into(folder: Path, progress: Callable[[int, int], None]) -> None:
    rows = _rows()
    for index, (path, _, _) in enumerate(rows):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        picture(index).save(folder / path, quality=90, subsampling=0)
        progress(index + 1, len(rows))
    with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    (folder / "digest").write_bytes(_digest(folder))


def _is_complete(folder: Path) -> bool:
    try:
        return (folder / "digest").read_bytes() == _digest(folder)
    except OSError:
        return False


def _digest(folder: Path) -> bytes:
    """SHA-256, in hexadecimal, over the names and contents of all files of the set."""
    digest = hashlib.sha256()
    for path in ("manifest.csv", *(path for path, _, _ in _rows())):
        digest.update(path.encode() + b"\0" + (folder / path).read_bytes())
    return digest.hexdigest().encode()
