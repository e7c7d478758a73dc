"""Frozen networks that turn pictures into features: one file each, found by its name.

A file that does not start with `_` is a backbone, or a family whose members are named
`FAMILY:NAME` (it says `IS_FAMILY = True`). It has a docstring, whose first line `dml list`
shows, and a function `load(*, name, weights, pool) -> Backbone`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cache.errors import InputError
from pipeline.choices import catalogue

if TYPE_CHECKING:
    from pipeline.backbones._backbone import Backbone


def load_backbone(name: str, *, weights: Path | None = None, pool: str | None = None) -> Backbone:
    """Load a frozen backbone.

    Args:
        name: a backbone, or `FAMILY:NAME`, for example "resnet50" or "timm:deit_small_patch16_224".
        weights: a .safetensors, .pth or .pt file; None takes the published ImageNet weights.
        pool: "avg", "max", "avg+max", "cls", "dist", "cls-only" or "own", or several of them as in
            "avg,max"; None takes the backbone's own.

    Raises:
        InputError: the name, the weights or the pool do not fit.
        WeightsUnavailableError: the published weights are not on this disk and cannot be fetched.
    """
    base, colon, member = name.partition(":")
    module = catalogue.find("backbones", base).load()
    if getattr(module, "IS_FAMILY", False) and not member:
        raise InputError(f"{base!r} is a family of backbones: name one of them as {base}:NAME")
    if colon and not getattr(module, "IS_FAMILY", False):
        raise InputError(f"unknown backbone {name!r}: did you mean {base!r}?")
    backbone: Backbone = module.load(name=name, weights=weights, pool=pool)
    return backbone
