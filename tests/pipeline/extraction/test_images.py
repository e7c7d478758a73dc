"""From a picture to the network's input: torchvision's pixels bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from cache.errors import InputError
from pipeline.extraction.pictures.decoding import Reading
from pipeline.extraction.pictures.images import Transform, normalise, prepare

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


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


def test_the_facts_of_a_transform_are_those_of_older_stores() -> None:
    assert transform(resize=37, crop=32, interpolation="bilinear").to_json() == {
        "resize": 37,
        "resize_mode": "shorter side",
        "crop": 32,
        "interpolation": "bilinear",
        "antialias": True,
        "exif_rotation": False,
        "mean": list(MEAN),
        "std": list(STD),
    }


@pytest.mark.parametrize(
    ("reading", "fact"),
    [
        (Reading(exif="rotate"), {"exif_rotation": True}),
        (Reading(truncated="use"), {"truncated": "use"}),
        (Reading(max_pixels=1000), {"max_pixels": 1000}),
    ],
)
def test_each_way_of_reading_that_is_not_usual_is_a_fact(
    reading: Reading, fact: dict[str, object]
) -> None:
    usual = transform(resize=37, crop=32, interpolation="bilinear")
    assert replace(usual, reading=reading).to_json() == usual.to_json() | fact


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exif": "turn"}, "exif is 'turn', expected one of ignore, rotate"),
        ({"truncated": "stop"}, "truncated is 'stop', expected one of skip, use"),
        ({"max_pixels": 0}, "max pixels is 0, expected at least 1"),
    ],
)
def test_an_unknown_way_of_reading_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Reading(**options)
