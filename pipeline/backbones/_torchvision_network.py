"""A classification net of torchvision without its last linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from cache.errors import InputError
from pipeline.backbones._backbone import Backbone, freeze
from pipeline.backbones._pooling import pool_positions, unsupported
from pipeline.extraction.images import Transform


def pooled(*, name: str, model: nn.Module, transform: Transform, pool: str | None) -> Backbone:
    """Freeze a net that was made with its classifier.

    Args:
        name: the name of the backbone.
        model: the net with its weights; its last linear layer is taken off.
        transform: the transform that belongs to the weights.
        pool: None is what the last linear layer would get: "cls" in a vision transformer,
            otherwise "avg". "max" and "avg+max" need a net whose "avg" is the plain mean of its
            last feature map.

    Raises:
        InputError: the net has no such pool, or no linear layer.
    """
    model.set_submodule(last_linear(name, model), nn.Identity())
    own = "cls" if isinstance(model, VisionTransformer) else "avg"
    network = model
    if pool not in (None, own):
        network = _with_pool(name, model.eval(), transform, str(pool), own)
    return freeze(name=name, model=model, network=network, transform=transform, pool=pool or own)


class PooledMap(nn.Module):
    """Pools a map (B, F, H, W) with "max" or "avg+max"."""

    def __init__(self, to_map: nn.Module, *, pool: str) -> None:
        """Take the part of the net that gives the map, as {"map": map}."""
        super().__init__()
        self.to_map = to_map
        self.pool = pool

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, F)."""
        return pool_positions(self.to_map(images)["map"].flatten(2).mT, self.pool)


def last_linear(name: str, model: nn.Module) -> str:
    """Return the name of the net's last linear layer.

    Raises:
        InputError: there is none.
    """
    linear: list[str] = [
        layer for layer, module in model.named_modules() if isinstance(module, nn.Linear)
    ]
    if not linear:
        raise InputError(f"{name} has no linear layer at its end: try timm:NAME")
    return linear[-1]


def _with_pool(name: str, model: nn.Module, transform: Transform, pool: str, own: str) -> nn.Module:
    layer = None if "cls" in (pool, own) else _layer_of_map(model, transform.crop)
    if layer is None:
        reason = f"its features are no plain mean of a feature map, take {own}, or try timm:NAME"
        raise unsupported(name, pool, reason)
    return PooledMap(create_feature_extractor(model, {layer: "map"}), pool=pool)


def _layer_of_map(model: nn.Module, size: int) -> str | None:
    """Name the last step that gives a map, if the features are the mean of that map.

    Torchvision's nets share no way to get at the map, so one forward pass is watched.
    """
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    _, steps = get_graph_node_names(model)
    with torch.inference_mode():
        outputs = create_feature_extractor(model, steps)(image)
        features = model(image)
    maps: dict[str, Tensor] = {
        step: output
        for step, output in outputs.items()
        if isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1
    }
    step, last = maps.popitem()
    mean = last.mean(dim=(2, 3))
    is_mean = mean.shape == features.shape and torch.allclose(mean, features, rtol=1e-3, atol=1e-5)
    return step if is_mean else None
