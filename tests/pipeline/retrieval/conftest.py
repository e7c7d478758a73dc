"""A gallery that is a matrix, without a store behind it, and photos of four colours."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cache.store import FeatureStore
from pipeline.backbones._backbone import Backbone, freeze
from pipeline.choices.settings import Settings
from pipeline.datasets import load_manifest
from pipeline.extract import extract
from pipeline.extraction.pictures.images import Transform
from pipeline.runs import workspace
from pipeline.train import train


@pytest.fixture
def unit() -> Any:
    """Draw rows (n, d) of unit norm in clusters, some of them exact copies of others."""

    def draw(count: int, dim: int = 16, seed: int = 0, copies: int = 0) -> Any:
        generator = np.random.default_rng(seed)
        centres = generator.standard_normal((20, dim))
        rows = centres[generator.integers(0, 20, count)]
        rows = rows + 0.5 * generator.standard_normal((count, dim))
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        for copy in generator.integers(1, count, copies):
            rows[copy] = rows[generator.integers(0, copy)]
        return rows

    return draw


COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200), "grey": (120,) * 3}
SPLITS = {"train": 8, "val": 3, "test": 4}


def picture(colour: tuple[int, ...], seed: int) -> Image.Image:
    """A noisy picture of one colour."""
    noise = np.random.default_rng(seed).normal(0, 25, (16, 16, 3))
    return Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos` of four colours, their store and a run; not to be changed."""
    home = tmp_path_factory.mktemp("shop")
    for split, count in SPLITS.items():
        for name, colour in COLOURS.items():
            folder = home / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                seed = zlib.crc32(f"{split} {name} {number}".encode())
                picture(colour, seed).save(folder / f"{number}.png")
    transform = Transform(
        resize=16, crop=16, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    network = Flat()
    flat = freeze(name="flat", model=network, network=network, transform=transform, pool="avg")
    manifest = load_manifest(home / "photos")
    extract(manifest, home / "photos.zarr", flat, dtype="float16", device="cpu", chunk_rows=7)
    store = FeatureStore.open(home / "photos.zarr")
    train(store, Settings(loss="proxy-anchor", dim=8, epochs=5), home / "run")
    return home


class Flat(nn.Module):
    """The network of the fixture `flat_backbone`, which commands load in these tests."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(8, 3 * 16 * 16, generator=generator) / 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.weight.T


@pytest.fixture
def desk(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flat_backbone: Backbone
) -> Path:
    """The working folder of a user, empty but for the pointer to the run; the backbone is tiny."""
    monkeypatch.chdir(tmp_path)
    workspace.point("run", shop / "run")
    workspace.point("store", shop / "photos.zarr")
    return tmp_path
