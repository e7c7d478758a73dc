"""Augmented views of a picture: the same ones whenever, wherever and in whatever order."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cache.errors import InputError
from cache.fingerprint import JSON
from pipeline.extraction.pictures.images import Transform

_TRIES = 10
_NUMBERS = 2 * _TRIES + 3  # area and ratio of each try; left, top, flip


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How further views of each picture are made: a random crop, resized, maybe mirrored.

    The crop is that of torchvision's RandomResizedCrop, with other random numbers.

    Attributes:
        views: number V of views beside the plain picture, which is view 0.
        seed: changes all views.
        scale: least and largest share of the picture's area, in (0, 1]. The default is this
            project's: of the 0.08 that networks are trained with, little is left to recognise.
        ratio: least and largest width by height of the crop.
        flip: probability that a view is mirrored.
    """

    views: int
    seed: int = 0
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: a value is out of its range.
        """
        if self.views < 0:
            raise InputError(f"the number of views is {self.views}, expected at least 0")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise InputError(
                f"the scale of views is {self.scale[0]:g} to {self.scale[1]:g}, expected two "
                "shares of the picture's area above 0 and up to 1, the least one first"
            )
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise InputError(
                f"the ratio of views is {self.ratio[0]:g} to {self.ratio[1]:g}, expected two "
                "positive numbers, the least one first"
            )
        if not 0 <= self.flip <= 1:
            raise InputError(f"the flip of views is {self.flip}, expected 0 to 1")

    def to_json(self) -> dict[str, JSON]:
        """Return all facts that decide the views but their number; none if there are no views."""
        if not self.views:
            return {}
        return {
            "kind": "random resized crop, flip",
            "random": "shake_256 of seed, view, id",
            "seed": self.seed,
            "scale": list(self.scale),
            "ratio": list(self.ratio),
            "flip": self.flip,
        }


def prepare_view(
    image: Image.Image, transform: Transform, augmentation: Augmentation, *, row_id: str, view: int
) -> NDArray[np.uint8]:
    """Make one view of a picture.

    Args:
        image: RGB.
        transform: its crop is the side of the view, and its interpolation is taken.
        augmentation: which crops there can be.
        row_id: id of the picture; it takes part in the random numbers.
        view: number of the view, from 1 to `augmentation.views`.

    Returns:
        (3, crop, crop) uint8.
    """
    numbers = uniform(augmentation.seed, row_id, view)
    box = crop_box(image.width, image.height, augmentation, numbers)
    side = transform.crop
    pixels = np.asarray(image.resize((side, side), transform.resampling, box=box))
    if next(numbers) < augmentation.flip:
        pixels = pixels[:, ::-1]
    return pixels.transpose(2, 0, 1)


def uniform(seed: int, row_id: str, view: int) -> Iterator[float]:
    """Yield random numbers in [0, 1) that depend on nothing but the arguments."""
    source = f"{seed}\n{view}\n{row_id}".encode()
    content = hashlib.shake_256(source).digest(8 * _NUMBERS)
    for start in range(0, len(content), 8):
        yield (int.from_bytes(content[start : start + 8], "big") >> 11) / 2**53


def crop_box(
    width: int, height: int, augmentation: Augmentation, numbers: Iterator[float]
) -> tuple[int, int, int, int]:
    """Choose (left, top, right, bottom) as RandomResizedCrop of torchvision does.

    Of ten sizes the first that fits is taken; if none does, the largest centred crop with an
    allowed ratio.

    Args:
        width: of the picture.
        height: of the picture.
        augmentation: the allowed areas and ratios.
        numbers: in [0, 1); two are taken for each size, and two for the place.
    """
    (least, largest), (narrow, wide) = augmentation.scale, augmentation.ratio
    for _ in range(_TRIES):
        area = width * height * (least + (largest - least) * next(numbers))
        ratio = math.exp(math.log(narrow) + (math.log(wide) - math.log(narrow)) * next(numbers))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            left = int(next(numbers) * (width - across + 1))
            top = int(next(numbers) * (height - down + 1))
            return left, top, left + across, top + down
    across, down = width, height
    if width / height < narrow:
        down = max(1, round(width / narrow))
    elif width / height > wide:
        across = max(1, round(height * wide))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down
