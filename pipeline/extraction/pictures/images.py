"""From a picture to the network's input, with the very pixels of torchvision's transforms."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cache.errors import InputError
from cache.fingerprint import JSON
from pipeline.extraction.pictures.decoding import Reading

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, kw_only=True)
class Transform:
    """How a picture becomes the network's input.

    Pillow resizes the 8-bit picture (always with antialiasing); then comes the centre crop,
    the scaling to [0, 1] and the normalisation. Unless `reading` says so, pictures are not turned
    by their EXIF orientation, as in the reference scripts of torchvision and timm.

    Attributes:
        resize: length in pixels of the shorter side after resizing, or of both with `squash`.
        crop: side of the centre crop in pixels, at most `resize`.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
        mean: what is subtracted from each channel in [0, 1].
        std: what each channel is divided by.
        squash: whether both sides become `resize`, whatever the picture's proportions.
        reading: what is done with image files that are not as they should be.
    """

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    squash: bool = False
    reading: Reading = field(default_factory=Reading)

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

    @property
    def resampling(self) -> Image.Resampling:
        """The interpolation as Pillow names it."""
        return _RESAMPLING[self.interpolation]

    def to_json(self) -> dict[str, JSON]:
        """Return all facts that decide the input, as plain JSON values.

        Of the reading only what is not as usual is told, so that older stores still match.
        """
        facts: dict[str, JSON] = {
            "resize": self.resize,
            "resize_mode": "squash" if self.squash else "shorter side",
            "crop": self.crop,
            "interpolation": self.interpolation,
            "antialias": True,
            "exif_rotation": self.reading.exif == "rotate",
            "mean": list(self.mean),
            "std": list(self.std),
        }
        if self.reading.truncated != "skip":
            facts["truncated"] = self.reading.truncated
        if self.reading.max_pixels is not None:
            facts["max_pixels"] = self.reading.max_pixels
        return facts


def prepare(image: Image.Image, transform: Transform) -> NDArray[np.uint8]:
    """Resize and crop; equals torchvision's Resize and CenterCrop on a PIL image.

    Returns:
        (3, crop, crop) uint8; the memory is ordered (H, W, 3).
    """
    size = _resized(image.width, image.height, transform)
    if size != image.size:
        # Whole, not just what the crop keeps: by `box` Pillow may take its two passes in another
        # order, and then pixels differ by a level or a few.
        image = image.resize(size, transform.resampling)
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
