"""Augmented views: the same pixels for the same id and seed, whatever happens around them."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from cache.errors import InputError
from pipeline.extraction.pictures.images import Transform
from pipeline.extraction.pictures.views import Augmentation, crop_box, prepare_view, uniform

from .conftest import NAMES, Embed

TWO = Augmentation(views=2)
TRANSFORM = Transform(resize=32, crop=24, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)


def numbers_of(seed: int, row_id: str, view: int, count: int) -> list[float]:
    """The first numbers by the definition: 53 bits of each 8 bytes of a SHAKE-256."""
    digest = hashlib.shake_256(f"{seed}\n{view}\n{row_id}".encode()).digest(8 * count)
    found = []
    for at in range(count):
        whole = 0
        for byte in digest[8 * at : 8 * at + 8]:
            whole = whole * 256 + byte
        found.append(whole // 2**11 / 2**53)
    return found


def box_by_hand(width: int, height: int, numbers: list[float]) -> tuple[int, int, int, int]:
    """RandomResizedCrop's box of scale 0.2 to 1 and ratio 3/4 to 4/3, in plain steps."""
    given = iter(numbers)
    for _ in range(10):
        area = (0.2 + 0.8 * next(given)) * width * height
        ratio = math.exp(math.log(3 / 4) + next(given) * (math.log(4 / 3) - math.log(3 / 4)))
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 1 <= w <= width and 1 <= h <= height:
            left = math.floor(next(given) * (width - w + 1))
            top = math.floor(next(given) * (height - h + 1))
            return left, top, left + w, top + h
    w, h = width, height
    if width / height < 3 / 4:
        h = round(width * 4 / 3)
    if width / height > 4 / 3:
        w = round(height * 4 / 3)
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (33, 33), (300, 12), (12, 300), (1, 1)])
def test_the_crop_is_that_of_a_loop_in_plain_steps(size: tuple[int, int]) -> None:
    for number in range(50):
        found = crop_box(*size, TWO, uniform(3, f"cat/{number}.jpg", 1))
        assert found == box_by_hand(*size, numbers_of(3, f"cat/{number}.jpg", 1, 23))
        left, top, right, bottom = found
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]


def test_sizes_and_places_of_crops_are_spread_as_those_of_torchvision() -> None:
    torch.manual_seed(0)
    theirs = []
    for _ in range(2000):
        top, left, down, across = transforms.RandomResizedCrop.get_params(
            torch.empty(3, 90, 120), scale=[0.2, 1.0], ratio=[3 / 4, 4 / 3]
        )
        theirs.append((left, top, left + across, top + down))
    ours = [crop_box(120, 90, TWO, uniform(0, str(number), 1)) for number in range(2000)]
    # Means of 2,000 crops with a deviation of about 25 pixels: 0.8 is the error of a difference.
    assert np.allclose(np.mean(ours, axis=0), np.mean(theirs, axis=0), atol=3)
    assert np.allclose(np.std(ours, axis=0), np.std(theirs, axis=0), atol=2.5)


def test_the_pixels_of_a_view_are_pillow_s_of_the_box_maybe_mirrored() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    mirrored = 0
    for view in range(1, 21):
        augmentation = Augmentation(views=20, seed=5)
        found = prepare_view(image, TRANSFORM, augmentation, row_id="a", view=view)
        given = uniform(5, "a", view)
        box = crop_box(60, 40, augmentation, given)
        expected = np.asarray(image.resize((24, 24), Image.Resampling.BICUBIC, box=box))
        if next(given) < 0.5:
            expected, mirrored = expected[:, ::-1], mirrored + 1
        assert np.array_equal(found, expected.transpose(2, 0, 1))
    assert 4 <= mirrored <= 16
    always = Augmentation(views=1, flip=1.0, scale=(1.0, 1.0), ratio=(1.5, 1.5))
    whole = np.asarray(image.resize((24, 24), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    found = prepare_view(image, TRANSFORM, always, row_id="a", view=1)
    assert np.array_equal(found, whole[:, :, ::-1])


def test_views_stand_after_the_plain_picture_which_they_do_not_change(embed: Embed) -> None:
    plain, viewed = embed(), embed(augmentation=TWO)
    for name in NAMES:
        assert plain[name].shape == (2, 192)
        assert viewed[name].shape == (6, 192)  # for each view both pools
        assert np.array_equal(viewed[name][:2], plain[name])
        assert np.array_equal(viewed[name][1::2], -viewed[name][::2])
        assert not np.array_equal(viewed[name][2], viewed[name][4])


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 16}, {"workers": 1}])
def test_views_depend_neither_on_batches_nor_on_threads(
    embed: Embed, options: dict[str, Any]
) -> None:
    expected, found = embed(augmentation=TWO), embed(augmentation=TWO, **options)
    assert all(np.array_equal(found[name], expected[name]) for name in NAMES)


def test_views_do_not_depend_on_the_order_or_on_other_images(embed: Embed) -> None:
    expected, found = embed(augmentation=TWO), embed(NAMES[6:2:-1], augmentation=TWO)
    assert all(np.array_equal(found[name], expected[name]) for name in NAMES[3:7])


def test_more_views_begin_with_the_same_ones(embed: Embed) -> None:
    few, many = embed(augmentation=TWO), embed(augmentation=Augmentation(views=3))
    assert all(np.array_equal(many[name][:6], few[name]) for name in NAMES)


def test_another_seed_or_id_gives_other_views(embed: Embed) -> None:
    expected = embed(augmentation=TWO)
    seeded = embed(augmentation=Augmentation(views=2, seed=1))
    renamed = embed(augmentation=TWO, ids=[f"other {name}" for name in NAMES])
    for name in NAMES:
        for found in (seeded[name], renamed[f"other {name}"]):
            assert np.array_equal(found[:2], expected[name][:2])
            assert not any(np.array_equal(found[at], expected[name][at]) for at in range(2, 6))


def test_the_facts_of_views_are_told_and_there_are_none_without_views() -> None:
    assert Augmentation(views=0, seed=7).to_json() == {}
    assert Augmentation(views=2, seed=7).to_json() == {
        "kind": "random resized crop, flip",
        "random": "shake_256 of seed, view, id",
        "seed": 7,
        "scale": [0.2, 1.0],
        "ratio": [3 / 4, 4 / 3],
        "flip": 0.5,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": -1}, "number of views is -1"),
        ({"views": 1, "scale": (0.0, 1.0)}, "scale of views is 0 to 1"),
        ({"views": 1, "scale": (0.5, 0.2)}, "scale of views is 0.5 to 0.2"),
        ({"views": 1, "scale": (0.5, 1.5)}, "scale of views is 0.5 to 1.5"),
        ({"views": 1, "ratio": (0.0, 1.0)}, "ratio of views is 0 to 1"),
        ({"views": 1, "flip": 2.0}, "flip of views is 2.0"),
    ],
)
def test_views_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Augmentation(**options)
