"""From an image file to the network's input, with the very pixels of torchvision's transforms."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from cache.errors import DmlError, InputError
from cache.fingerprint import JSON
from pipeline.extraction import containers

# A closed list, because some of Pillow's other formats start programs (EPS) or fetch plug-ins.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class UnreadableImageError(DmlError, ValueError):
    """An image file that cannot be decoded; the message is a short reason without the path."""


@dataclass(frozen=True, kw_only=True)
class Transform:
    """How a picture becomes the network's input.

    Pillow resizes the 8-bit picture (always with antialiasing); then comes the centre crop,
    the scaling to [0, 1] and the normalisation. Pictures are not turned by their EXIF
    orientation, as in the reference scripts of torchvision and timm.

    Attributes:
        resize: length in pixels of the shorter side after resizing, or of both with `squash`.
        crop: side of the centre crop in pixels, at most `resize`.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
        mean: what is subtracted from each channel in [0, 1].
        std: what each channel is divided by.
        squash: whether both sides become `resize`, whatever the picture's proportions.
    """

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    squash: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: the crop does not fit, or the interpolation is unknown.
        """
        if not 0 < self.crop <= self.resize:
            raise InputError(f"crop is {self.crop}, expected 1 to resize ({self.resize})")
        if self.interpolation not in _RESAMPLING:
            raise InputError(
                f"interpolation is {self.interpolation!r}, expected one of {', '.join(_RESAMPLING)}"
            )

    def to_json(self) -> dict[str, JSON]:
        """Return all facts that decide the input, as plain JSON values."""
        return {
            "resize": self.resize,
            "resize_mode": "squash" if self.squash else "shorter side",
            "crop": self.crop,
            "interpolation": self.interpolation,
            "antialias": True,
            "exif_rotation": False,
            "mean": list(self.mean),
            "std": list(self.std),
        }


def decode(path: Path) -> Image.Image:
    """Read the first picture of a file as 8-bit RGB.

    Grey, palette and CMYK pictures are converted, 16-bit grey is scaled to 8 bits, alpha is
    dropped. Pillow itself warns of very large pictures and of odd metadata. A path with `::` is a
    picture in an archive or table, see `pipeline.extraction.containers`.

    Raises:
        UnreadableImageError: the file is missing, damaged, not an image, of a format outside
            of `FORMATS`, or has more than `PIL.Image.MAX_IMAGE_PIXELS` pixels.
    """
    try:
        inside = containers.split(path)
        source = io.BytesIO(containers.read_bytes(path)) if inside else path
        with Image.open(source, formats=FORMATS) as image:
            _check_size(image)
            return _to_rgb(image)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        reason = "empty file" if containers.size_of(path) == 0 else "not a known image format"
        raise UnreadableImageError(reason) from error
    except FileNotFoundError as error:
        raise UnreadableImageError("file not found") from error
    # Damaged files make Pillow's decoders raise nearly anything (OSError, SyntaxError, zlib.error).
    except Exception as error:
        raise UnreadableImageError(_short_reason(error)) from error


def prepare(image: Image.Image, transform: Transform) -> NDArray[np.uint8]:
    """Resize and crop; equals torchvision's Resize and CenterCrop on a PIL image.

    Returns:
        (3, crop, crop) uint8; the memory is ordered (H, W, 3).
    """
    size = _resized(image.width, image.height, transform)
    if size != image.size:
        # Whole, not just what the crop keeps: by `box` Pillow may take its two passes in another
        # order, and then pixels differ by a level or a few.
        image = image.resize(size, _RESAMPLING[transform.interpolation])
    left = round((image.width - transform.crop) / 2)
    top = round((image.height - transform.crop) / 2)
    image = image.crop((left, top, left + transform.crop, top + transform.crop))
    return np.asarray(image).transpose(2, 0, 1)


def normalise(batch: Tensor, transform: Transform) -> Tensor:
    """Scale to [0, 1] and normalise, on the batch's device.

    Args:
        batch: (B, 3, H, W) uint8.
        transform: the mean and std.

    Returns:
        (B, 3, H, W) float32 in channels-last order, bit for bit what torchvision's ToTensor and
        Normalize give.
    """
    width = batch.shape[3]
    mean = torch.tensor(transform.mean, device=batch.device).repeat(width)  # (3 W,)
    std = torch.tensor(transform.std, device=batch.device).repeat(width)
    # Whole rows of pixels: with the three channels as the innermost loop it took 5 times as long.
    rows = batch.permute(0, 2, 3, 1).flatten(2)  # (B, H, 3 W)
    images = rows.to(torch.float32).div_(255).sub_(mean).div_(std)
    return images.view(*rows.shape[:2], width, 3).permute(0, 3, 1, 2)


def _resized(width: int, height: int, transform: Transform) -> tuple[int, int]:
    if transform.squash:
        return transform.resize, transform.resize
    short, long = sorted((width, height))
    longer = int(transform.resize * long / short)
    return (transform.resize, longer) if width <= height else (longer, transform.resize)


def _check_size(image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise UnreadableImageError(
            f"{image.width} x {image.height} pixels, at most {limit} allowed"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UnreadableImageError("floating-point pixels have no fixed range")
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow would clip at 255 and turn nearly everything white.
        grey = np.asarray(image).clip(0, 65535) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")  # the direct way warns
    if image.mode == "RGB":  # `convert` would copy it
        image.load()
        return image
    return image.convert("RGB")


def _short_reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:120]
