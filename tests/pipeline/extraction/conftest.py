"""What tests of extraction share: a few pictures on disk, and a network that sees every pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.backbones._backbone import Backbone, freeze
from pipeline.extraction.embed import embed_files
from pipeline.extraction.overlap import Batch
from pipeline.extraction.pictures.images import Transform

NAMES = tuple(f"{number}.png" for number in range(11))
Embed = Callable[..., dict[str, Any]]


class TwoPools(nn.Module):
    """The pixels themselves, and their negatives."""

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.flatten(1)  # (B, F)
        return torch.stack([pixels, -pixels], dim=1)


@pytest.fixture
def backbone() -> Backbone:
    transform = Transform(
        resize=8, crop=8, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    network = TwoPools()
    return freeze(
        name="pixels", model=network, network=network, transform=transform, pool="avg,max"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in NAMES:
        pixels = generator.integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


@pytest.fixture
def embed(folder: Path, backbone: Backbone) -> Embed:
    """Embed files of the folder; returns id -> (A, F) features, and all batches."""

    def run(names: Any = NAMES, **options: Any) -> dict[str, Any]:
        options = {"batch_size": 4, "workers": 2, "ids": names} | options
        batches: list[Batch] = list(
            embed_files(
                backbone,
                names,
                [range(len(names))],
                root=folder,
                device=torch.device("cpu"),
                precision="float32",
                **options,
            )
        )
        values = np.concatenate([batch.values for batch in batches])
        return dict(zip(options["ids"], values, strict=True)) | {"batches": batches}

    return run
