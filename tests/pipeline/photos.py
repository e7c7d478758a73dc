"""Small pictures in class folders, for the tests that need images and a run on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def make_photos(folder: Path, *, classes: int = 4, each: int = 6) -> Path:
    """Write pictures of several sizes: each class has its colours, each picture its noise."""
    generator = np.random.default_rng(0)
    for label in range(classes):
        (folder / f"class {label}").mkdir(parents=True)
        colours = generator.integers(0, 256, (4, 4, 3))
        for number in range(each):
            height, width = 20 + 3 * number, 31 - 2 * number
            pixels = np.kron(colours, np.ones((10, 10, 1)))[:height, :width]
            noisy = (pixels + generator.normal(0, 25, pixels.shape)).clip(0, 255)
            Image.fromarray(noisy.astype(np.uint8)).save(folder / f"class {label}/{number}.png")
    return folder
