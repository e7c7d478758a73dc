"""Any classification net of torchvision, as torchvision:NAME (for example torchvision:resnet18).

The features are what the last linear layer would get: called cls if that is the class token of
a transformer, otherwise avg. max and avg+max exist where avg is the plain mean of the last
feature map; of other nets take timm:NAME. avg,max gives several in one pass. The transform is the
one stated with the weights.
"""

from __future__ import annotations

from pathlib import Path

from torchvision import models

from cache.errors import InputError
from pipeline.backbones._backbone import Backbone
from pipeline.backbones._pooling import split_pools
from pipeline.backbones._torchvision_network import last_linear, pooled
from pipeline.backbones._weights import fetching, load_weights
from pipeline.choices.catalogue import unknown
from pipeline.extraction.pictures.images import Transform

IS_FAMILY = True
_WITH_SIDE_CLASSIFIERS = ("googlenet", "inception_v3")


def load(*, name: str, weights: Path | None, pool: str | None) -> Backbone:
    """Load it; see `pipeline.backbones.load_backbone`."""
    split_pools(pool)
    member = _member(name)
    published = models.get_model_weights(member).DEFAULT
    if weights is None:
        with fetching(name):
            model = models.get_model(member, weights=published)
    else:
        model = models.get_model(member, weights=None)
        load_weights(model, weights, classifier=(last_linear(name, model),))
    return pooled(name=name, model=model, transform=_transform(published), pool=pool)


def _member(name: str) -> str:
    member = name.removeprefix("torchvision:")
    known = models.list_models(module=models)
    if member not in known:
        raise unknown("model of torchvision", member, known)
    if member in _WITH_SIDE_CLASSIFIERS:
        raise InputError(f"{name} has side classifiers, which are not supported: try timm:NAME")
    return member


def _transform(published: models.WeightsEnum) -> Transform:
    preset = published.transforms()
    return Transform(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
