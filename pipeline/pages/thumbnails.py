"""Small pictures for pages: made of image files, inside of the page itself."""

from __future__ import annotations

import base64
import io

from PIL import Image, ImageDraw, ImageFont

from cache.errors import DmlError
from cache.places.urls import Location
from pipeline.extraction.pictures.decoding import Reading, decode

_QUALITY = 80
_AS_PEOPLE_SEE = Reading(exif="rotate", truncated="use")
_GREY, _DARK = (200, 204, 210), (70, 76, 84)


def thumbnail(place: Location | None, side: int = 160) -> bytes:
    """Shrink the picture of a file to fit a square, whatever became of the file.

    Args:
        place: the image file, a picture in a container (a path with `::`), or None if its place is
            not known.
        side: of the square in pixels; smaller pictures are not enlarged.

    Returns:
        a JPEG; where there is no picture, a grey square with a word on it.
    """
    if place is None:
        return _placeholder("no picture", side)
    try:
        image = decode(place, _AS_PEOPLE_SEE)
    except DmlError as error:
        gone = "not found" in str(error) or "link to nothing" in str(error)
        return _placeholder("removed" if gone else "unreadable", side)
    image.thumbnail((side, side))
    return _jpeg(image)


def data_uri(picture: bytes) -> str:
    """Write a JPEG as the value of an image's `src`."""
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode('ascii')}"


def _placeholder(word: str, side: int) -> bytes:
    image = Image.new("RGB", (side, side), _GREY)
    font = ImageFont.load_default(max(8, side / 8))
    middle = (side / 2, side / 2)
    ImageDraw.Draw(image).text(middle, word, fill=_DARK, font=font, anchor="mm")
    return _jpeg(image)


def _jpeg(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=_QUALITY)
    return content.getvalue()
