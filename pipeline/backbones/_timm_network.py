"""A model of timm without its classifier, with a pooling of choice."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import torch
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

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

TimmModel: TypeAlias = Any  # timm's models share methods, but no class that declares them

_TOKENS = ("cls", "dist", "cls-only")


def pooled(*, name: str, model: TimmModel, pool: str | None) -> Backbone:
    """Freeze a timm model that was made with `num_classes=0`, or reset to it.

    Args:
        name: the name of the backbone.
        model: the model with its weights.
        pool: one or several, see `PooledMap` and `PooledTokens`; None is what the model was
            trained with, called "own" if that is neither "avg" nor "cls" but, for example, learnt.

    Raises:
        InputError: the model has no such pool, or another input or output than expected, or
            the pools differ in length.
    """
    pools = split_pools(pool)
    transform = _transform(name, model)
    size = transform.crop
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    model.eval()
    with torch.inference_mode():
        features = model.forward_features(image)
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        raise InputError(f"{name} gives neither a feature map nor tokens: choose another backbone")
    if features.ndim == 4:
        is_channels_last = features.shape[1] != model.num_features == features.shape[3]
        network, own = _pool_map(name, model, pools, image, is_channels_last=is_channels_last)
    else:
        network, own = _pool_tokens(name, model, pools, image)
    return freeze(name=name, model=model, network=network, transform=transform, pool=pool or own)


class PooledMap(nn.Module):
    """Pools the last map (B, F, H, W), or (B, H, W, F), with "avg", "max" or "avg+max".

    What the model's head does after its own pooling (a norm in ConvNeXt, a layer in
    MobileNetV3) follows, so that "avg" gives what the classifier would have seen.
    """

    def __init__(
        self, model: TimmModel, *, name: str, pools: tuple[str, ...], is_channels_last: bool
    ) -> None:
        """Take the model and what its map looks like."""
        super().__init__()
        self.model = model
        self.name = name
        self.pools = pools
        self.is_channels_last = is_channels_last

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, F), or to (B, P, F) if there are several pools."""
        features = self.model.forward_features(images)
        # (B, T, F)
        flat = features.flatten(1, 2) if self.is_channels_last else features.flatten(2).mT
        return stacked(self.name, {pool: self._pooled(flat, pool) for pool in self.pools})

    def _pooled(self, positions: Tensor, pool: str) -> Tensor:
        vectors = pool_positions(positions, pool)
        # A map of one position: the head's own average leaves it as it is.
        one = vectors[:, None, None, :] if self.is_channels_last else vectors[:, :, None, None]
        pooled: Tensor = self.model.forward_head(one, pre_logits=True)
        return pooled


class PooledTokens(nn.Module):
    """Pools the tokens (B, T, F): "avg" and "max" over the patches, "cls" is the first token.

    What a model does by itself (`own`, whatever its name) is left to its head. So in a distilled
    DeiT "cls" is the mean of its two tokens; "cls-only" and "dist" are each of them alone.
    """

    def __init__(self, model: TimmModel, *, name: str, pools: tuple[str, ...], own: str) -> None:
        """Take the model."""
        super().__init__()
        self.model = model
        self.name = name
        self.pools = pools
        self.own = own
        self.num_prefix = getattr(model, "num_prefix_tokens", 0)
        self.norm = getattr(model, "fc_norm", None) or nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, F), or to (B, P, F) if there are several pools."""
        tokens = self.model.forward_features(images)
        return stacked(self.name, {pool: self._pooled(tokens, pool) for pool in self.pools})

    def _pooled(self, tokens: Tensor, pool: str) -> Tensor:
        if pool == self.own:
            own: Tensor = self.model.forward_head(tokens)
            return own
        place = {"cls": 0, "cls-only": 0, "dist": 1}.get(pool)
        pooled = (
            pool_positions(tokens[:, self.num_prefix :], pool)
            if place is None
            else tokens[:, place]
        )
        normed: Tensor = self.norm(pooled)
        return normed


def _pool_map(
    name: str,
    model: TimmModel,
    pools: tuple[str, ...],
    image: Tensor,
    *,
    is_channels_last: bool,
) -> tuple[nn.Module, str]:
    """Return the network and the name of the model's own pool."""
    average = PooledMap(model, name=name, pools=("avg",), is_channels_last=is_channels_last)
    if not _agree(average, model, image):
        other = next((pool for pool in pools if pool != "own"), None)
        if other is None:
            return model, "own"
        raise unsupported(name, other, "it pools in its own way: leave the pool out")
    chosen = resolved(name, pools, "avg")
    token = next((pool for pool in chosen if pool in _TOKENS), None)
    if token is not None:
        raise unsupported(name, token, "it has no class token: take avg, max or avg+max")
    return PooledMap(model, name=name, pools=chosen, is_channels_last=is_channels_last), "avg"


def _pool_tokens(
    name: str, model: TimmModel, pools: tuple[str, ...], image: Tensor
) -> tuple[nn.Module, str]:
    """Return the network and the name of the model's own pool."""
    own = {"token": "cls", "avg": "avg"}.get(getattr(model, "global_pool", ""), "own")
    chosen = resolved(name, pools, own)
    if chosen == (own,):
        return model, own
    if "cls" in chosen and getattr(model, "cls_token", None) is None:
        raise unsupported(name, "cls", "it has no class token: take avg, max or avg+max")
    alone = next((pool for pool in chosen if pool in ("dist", "cls-only")), None)
    if alone is not None and getattr(model, "dist_token", None) is None:
        raise unsupported(name, alone, "it has no distillation token, as a distilled DeiT has")
    if own in chosen and not _is_head_of(model, image):
        raise unsupported(name, own, "together with others: extract it into a store of its own")
    return PooledTokens(model, name=name, pools=chosen, own=own), own


def _is_head_of(model: TimmModel, image: Tensor) -> bool:
    """Tell whether the model is nothing but its features and its head, one after the other."""
    with torch.inference_mode():
        return torch.equal(model.forward_head(model.forward_features(image)), model(image))


def _agree(average: nn.Module, model: nn.Module, image: Tensor) -> bool:
    try:
        with torch.inference_mode():
            ours, own = average.eval()(image), model(image)
    except RuntimeError:  # a learnt pooling over a fixed number of positions
        return False
    return ours.shape == own.shape and torch.allclose(ours, own, rtol=1e-3, atol=1e-4)


def _transform(name: str, model: TimmModel) -> Transform:
    facts = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    channels, height, width = facts["input_size"]
    if (channels, height) != (3, width) or facts["crop_mode"] not in ("center", "squash"):
        raise InputError(
            f"{name} takes {channels} x {height} x {width} input with crop mode "
            f"{facts['crop_mode']!r}: only square RGB input, centred or squashed, is supported"
        )
    return Transform(
        resize=math.floor(height / facts["crop_pct"]),
        crop=height,
        interpolation=facts["interpolation"],
        mean=facts["mean"],
        std=facts["std"],
        squash=facts["crop_mode"] == "squash",
    )
