"""A model of timm without its classifier, with a pooling of choice."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import torch
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from cache.errors import InputError
from pipeline.backbones._backbone import Backbone, freeze
from pipeline.backbones._pooling import check_pool, pool_positions, unsupported
from pipeline.extraction.images import Transform

TimmModel: TypeAlias = Any  # timm's models share methods, but no class that declares them


def pooled(*, name: str, model: TimmModel, pool: str | None) -> Backbone:
    """Freeze a timm model that was made with `num_classes=0`, or reset to it.

    Args:
        name: the name of the backbone.
        model: the model with its weights.
        pool: see `PooledMap` and `PooledTokens`; None is what the model was trained with, called
            "own" if that is neither "avg" nor "cls" but, for example, learnt.

    Raises:
        InputError: the model has no such pool, or another input or output than expected.
    """
    check_pool(pool)
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
        network, pool = _pool_map(name, model, pool, image, is_channels_last=is_channels_last)
    else:
        network, pool = _pool_tokens(name, model, pool)
    return freeze(name=name, model=model, network=network, transform=transform, pool=pool)


class PooledMap(nn.Module):
    """Pools the last map (B, F, H, W), or (B, H, W, F), with "avg", "max" or "avg+max".

    What the model's head does after its own pooling (a norm in ConvNeXt, a layer in
    MobileNetV3) follows, so that "avg" gives what the classifier would have seen.
    """

    def __init__(self, model: TimmModel, *, pool: str, is_channels_last: bool) -> None:
        """Take the model and what its map looks like."""
        super().__init__()
        self.model = model
        self.pool = pool
        self.is_channels_last = is_channels_last

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, F)."""
        features = self.model.forward_features(images)
        if self.is_channels_last:
            vectors = pool_positions(features.flatten(1, 2), self.pool)[:, None, None, :]
        else:
            vectors = pool_positions(features.flatten(2).mT, self.pool)[:, :, None, None]
        # A map of one position: the head's own average leaves it as it is.
        pooled: Tensor = self.model.forward_head(vectors, pre_logits=True)
        return pooled


class PooledTokens(nn.Module):
    """Pools the tokens (B, T, F): "avg" and "max" over the patches, "cls" is the first token.

    A distilled DeiT does not come here for "cls": its own is the mean of its two tokens.
    """

    def __init__(self, model: TimmModel, *, pool: str) -> None:
        """Take the model."""
        super().__init__()
        self.model = model
        self.pool = pool
        self.num_prefix = getattr(model, "num_prefix_tokens", 0)
        self.norm = getattr(model, "fc_norm", None) or nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, F)."""
        tokens = self.model.forward_features(images)
        is_cls = self.pool == "cls"
        pooled = tokens[:, 0] if is_cls else pool_positions(tokens[:, self.num_prefix :], self.pool)
        normed: Tensor = self.norm(pooled)
        return normed


def _pool_map(
    name: str, model: TimmModel, pool: str | None, image: Tensor, *, is_channels_last: bool
) -> tuple[nn.Module, str]:
    average = PooledMap(model, pool="avg", is_channels_last=is_channels_last)
    if not _agree(average, model, image):
        if pool is None:
            return model, "own"
        raise unsupported(name, pool, "it pools in its own way: leave the pool out")
    if pool == "cls":
        raise unsupported(name, pool, "it has no class token: take avg, max or avg+max")
    pool = pool or "avg"
    return PooledMap(model, pool=pool, is_channels_last=is_channels_last), pool


def _pool_tokens(name: str, model: TimmModel, pool: str | None) -> tuple[nn.Module, str]:
    own = {"token": "cls", "avg": "avg"}.get(getattr(model, "global_pool", ""), "own")
    if pool in (None, own):
        return model, own
    if pool == "cls" and getattr(model, "cls_token", None) is None:
        raise unsupported(name, pool, "it has no class token: take avg, max or avg+max")
    return PooledTokens(model, pool=str(pool)), str(pool)


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
