"""ResNet-50 of torchvision with its current ImageNet weights.

2048 features, pools avg, max and avg+max. He et al. 2015, arXiv 1512.03385.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.backbones import torchvision
from pipeline.backbones._backbone import Backbone


def load(*, name: str, weights: Path | None, pool: str | None) -> Backbone:
    """Load it; see `pipeline.backbones.load_backbone`."""
    return torchvision.load(name=name, weights=weights, pool=pool)
