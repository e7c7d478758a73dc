"""A classification net of torchvision without its last linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from cache.errors import InputError
from pipeline.backbones._backbone import Backbone, freeze
from pipeline.backbones._pooling import (
    pool_positions,
    resolved,
    split_pools,
    stacked,
    unsupported,
)
from pipeline.extraction.pictures.images import Transform


def pooled(*, name: str, model: nn.Module, transform: Transform, pool: str | None) -> Backbone:
    """Freeze a net that was made with its classifier.

    Args:
        name: the name of the backbone.
        model: the net with its weights; its last linear layer is taken off.
        transform: the transform that belongs to the weights.
        pool: one or several; None is what the last linear layer would get: "cls" in a vision
            transformer, otherwise "avg". "max" and "avg+max" need a net whose "avg" is the plain
            mean of its last feature map.

    Raises:
        InputError: the net has no such pool, or no linear layer.
    """
    pools = split_pools(pool)
    model.set_submodule(last_linear(name, model), nn.Identity())
    own = "cls" if isinstance(model, VisionTransformer) else "avg"
    chosen = resolved(name, pools, own)
    network = model
    if chosen != (own,):
        network = _with_pools(name, model.eval(), transform, chosen, own)
    return freeze(name=name, model=model, network=network, transform=transform, pool=pool or own)


class PooledMap(nn.Module):
    """Pools a map (B, F, H, W) with "max" or "avg+max", beside what the net gives by itself."""

    def __init__(self, net: nn.Module, *, name: str, pools: tuple[str, ...], own: str) -> None:
        """Take the net that gives {"map": map}, and {"own": features} if its own pool is asked."""
        super().__init__()
        self.net = net
        self.name = name
        self.pools = pools
        self.own = own

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, F), or to (B, P, F) if there are several pools."""
        found = self.net(images)
        positions = found["map"].flatten(2).mT  # (B, T, F)
        vectors = {
            pool: found["own"] if pool == self.own else pool_positions(positions, pool)
            for pool in self.pools
        }
        return stacked(self.name, vectors)


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


def _with_pools(
    name: str, model: nn.Module, transform: Transform, pools: tuple[str, ...], own: str
) -> nn.Module:
    other = next(pool for pool in pools if pool != own)
    is_map = own == "avg" and not {"cls", "dist", "cls-only"} & set(pools)
    layer = _layer_of_map(model, transform.crop) if is_map else None
    if layer is None:
        reason = f"its features are no plain mean of a feature map, take {own}, or try timm:NAME"
        raise unsupported(name, other, reason)
    outputs = {layer: "map"}
    if own in pools:
        outputs[get_graph_node_names(model)[1][-1]] = "own"
    return PooledMap(create_feature_extractor(model, outputs), name=name, pools=pools, own=own)


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
