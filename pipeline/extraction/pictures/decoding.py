"""From the bytes of an image file to an 8-bit RGB picture, whatever the file holds."""

from __future__ import annotations

import io
import os
import stat
import threading
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from cache.errors import DmlError, InputError, UnreachableError
from cache.places.urls import Location, is_url
from pipeline.extraction import containers

# A closed list, because some of Pillow's other formats start programs (EPS) or fetch plug-ins.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
EXIF = ("ignore", "rotate")
TRUNCATED = ("skip", "use")

_BYTES_PER_PIXEL = 8  # of the largest there are: four channels of 16 bits
_SPARE_BYTES = 2**26  # for metadata
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_raising = threading.Lock()


class UnreadableImageError(DmlError, ValueError):
    """An image file that cannot be decoded; the message is a short reason without the path."""


class _Leniency(threading.local):
    """Stands for Pillow's global switch, but each thread has its own.

    Pillow asks it for its truth while it decodes, so one thread can use a truncated file while
    another refuses one.
    """

    is_on = False

    def __bool__(self) -> bool:
        return self.is_on


_leniency = _Leniency()
ImageFile.LOAD_TRUNCATED_IMAGES = _leniency  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is done with image files that are not as they should be.

    Attributes:
        exif: "ignore", or "rotate" by the orientation that the camera noted. Pillow turns TIFF
            pictures by it in any case.
        truncated: "skip", or "use" what is there of a file whose end is missing, as Pillow does
            with LOAD_TRUNCATED_IMAGES. Missing pixels are mid-grey in a JPEG (or coarser, if it
            is progressive), black in PNG, BMP, TIFF and PPM, one entry of the palette in GIF.
            WebP and compressed TIFF files have to be whole.
        max_pixels: pictures with more are refused; None is Pillow's limit of 89,478,485.
    """

    exif: str = "ignore"
    truncated: str = "skip"
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: a word is unknown, or the limit is below 1.
        """
        for name, value, known in (
            ("exif", self.exif, EXIF),
            ("truncated", self.truncated, TRUNCATED),
        ):
            if value not in known:
                raise InputError(f"{name} is {value!r}, expected one of {', '.join(known)}")
        if self.max_pixels is not None and self.max_pixels < 1:
            raise InputError(f"max pixels is {self.max_pixels}, expected at least 1")

    @property
    def limit(self) -> int | None:
        """The most pixels; None is no limit, if Pillow was told so."""
        return Image.MAX_IMAGE_PIXELS if self.max_pixels is None else self.max_pixels


def decode(path: Location, reading: Reading | None = None) -> Image.Image:
    """Read the first picture of a file as 8-bit RGB; see `read` and `decode_content`."""
    reading = reading or Reading()
    return decode_content(read(path, reading), reading)


def read(path: Location, reading: Reading, *, expected: int | None = None) -> bytes:
    """Read a file, or a picture in an archive or table (a path with `::`).

    Args:
        path: where it is.
        reading: its limit of pixels also limits the bytes, so that no file fills the memory.
        expected: bytes it had when it was listed, -1 for none; None asks for no such check.

    Raises:
        UnreadableImageError: the file is missing, no regular file, far too large, or has changed
            since it was listed.
        UnreachableError: the network is to blame, so this says nothing about the image.
    """
    try:
        size = _checked_size(path, reading)
        content = containers.read_bytes(path)
    except (UnreadableImageError, UnreachableError):
        raise
    except FileNotFoundError as error:
        is_link = os.path.islink(path)
        raise UnreadableImageError("link to nothing" if is_link else "file not found") from error
    # Out of reach, a loop of links, a damaged archive, a path that is none.
    except Exception as error:
        raise UnreadableImageError(_short_reason(error)) from error
    # What a container gives may be longer than what it says it stores.
    if expected is not None and size is not None and len(content) != expected:
        was = f"{expected} bytes then" if expected >= 0 else "missing then"
        raise UnreadableImageError(f"changed since it was listed: {was}, {len(content)} bytes now")
    return content


def decode_content(content: bytes, reading: Reading) -> Image.Image:
    """Decode the first picture of a file's content as 8-bit RGB.

    Grey, palette, CMYK, YCbCr and LAB pictures are converted, 16-bit grey is scaled to 8 bits,
    alpha is dropped. Pillow itself warns of very large pictures and of odd metadata.

    Raises:
        UnreadableImageError: it is empty, damaged, not an image, of a format outside of
            `FORMATS`, or has too many pixels.
    """
    try:
        return _decoded(content, reading)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        reason = "not a known image format" if content else "empty file"
        raise UnreadableImageError(reason) from error
    # Damaged files make Pillow's decoders raise nearly anything (OSError, SyntaxError, zlib.error).
    except Exception as error:
        reason = _short_reason(error)
        is_cut = "truncated" in reason.lower()
        if not is_cut or reading.truncated == "skip" or _leniency.is_on:
            raise UnreadableImageError(reason) from error
    try:
        _leniency.is_on = True
        return decode_content(content, reading)
    finally:
        _leniency.is_on = False


def _checked_size(path: Location, reading: Reading) -> int | None:
    """Return the size of a file on this machine; None for what lies in a container or far away."""
    if is_url(path):  # to ask would take a request for each image
        return None
    if containers.split(path) is not None:
        _refuse_too_large(containers.size_of(path), reading)
        return None
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableImageError("is a directory")
    if not stat.S_ISREG(status.st_mode):  # reading a pipe could wait for ever
        raise UnreadableImageError("not a regular file")
    _refuse_too_large(status.st_size, reading)
    return status.st_size


def _refuse_too_large(size: int, reading: Reading) -> None:
    limit = reading.limit
    if limit is not None and size > _BYTES_PER_PIXEL * limit + _SPARE_BYTES:
        raise UnreadableImageError(f"{size} bytes are too many for a picture of {limit} pixels")


def _decoded(content: bytes, reading: Reading) -> Image.Image:
    _raise_limit_of_pillow(reading.max_pixels)
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        limit = reading.limit
        if limit is not None and image.width * image.height > limit:
            raise UnreadableImageError(
                f"{image.width} x {image.height} pixels, at most {limit} allowed"
            )
        image.load()
        if reading.exif == "rotate":
            return _to_rgb(_turned(image))
        return _to_rgb(image)


def _raise_limit_of_pillow(limit: int | None) -> None:
    """Let Pillow open what the limit allows; each `_decoded` checks its own limit besides."""
    with _raising:
        if limit is not None and limit > (Image.MAX_IMAGE_PIXELS or limit):
            Image.MAX_IMAGE_PIXELS = limit


def _turned(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # metadata are damaged in as many ways as pictures, and say nothing then
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UnreadableImageError("floating-point pixels have no fixed range")
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow would clip at 255 and turn nearly everything white.
        grey = np.asarray(image).clip(0, 65535) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")  # the direct way warns
    return image if image.mode == "RGB" else image.convert("RGB")  # `convert` would copy it


def _short_reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:120]
