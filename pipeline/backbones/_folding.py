"""Batch normalisation folded into the convolutions before it: fewer passes over each map."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_TOLERANCE = 1e-4  # of the largest feature; rounding alone makes about 1e-6


def folded(network: nn.Module, image: Tensor) -> nn.Module:
    """Fold each batch normalisation of a frozen network into the convolution that feeds it.

    The features are the same but for rounding. Who feeds whom is watched on one picture.

    Args:
        network: in evaluation mode; it is left as it is.
        image: (1, 3, H, W), best a random one.

    Returns:
        A copy with folded layers; the network itself if nothing can be folded, or if its
        features would be others (weights computed on the way, maps used twice).
    """
    candidate = copy.deepcopy(network)
    pairs = _pairs(candidate, image)
    if not pairs:
        return network
    for convolution, norm in pairs:
        _fold(candidate.get_submodule(convolution), candidate.get_submodule(norm))
        # A norm of timm has its activation inside; one of torch has nothing.
        rest = nn.Sequential(*candidate.get_submodule(norm).children())
        candidate.set_submodule(norm, rest)
    with torch.inference_mode():
        before, after = network(image), candidate.eval()(image)
    is_same = (before - after).abs().max() <= _TOLERANCE * before.abs().max()
    return candidate.requires_grad_(False) if is_same else network


def _pairs(network: nn.Module, image: Tensor) -> list[tuple[str, str]]:
    """Name each convolution and the norm that gets its output, if both are used just once."""
    outputs: dict[int, tuple[str, Tensor]] = {}  # holding the tensors keeps their ids unique
    pairs: list[tuple[str, str]] = []
    calls: list[str] = []

    def watch(name: str, module: nn.Module) -> Any:
        if isinstance(module, nn.Conv2d):

            def after(_module: nn.Module, _inputs: object, output: Tensor) -> None:
                calls.append(name)
                outputs[id(output)] = name, output

            return module.register_forward_hook(after)

        def before(norm: Any, inputs: tuple[Tensor, ...]) -> None:
            calls.append(name)
            if id(inputs[0]) in outputs and norm.running_mean is not None:
                pairs.append((outputs[id(inputs[0])][0], name))

        return module.register_forward_pre_hook(before)

    layers = (nn.Conv2d, nn.BatchNorm2d)
    hooks = [
        watch(name, each) for name, each in network.named_modules() if isinstance(each, layers)
    ]
    with torch.inference_mode():
        network(image)
    for hook in hooks:
        hook.remove()
    return [pair for pair in pairs if all(calls.count(name) == 1 for name in pair)]


def _fold(convolution: Any, norm: Any) -> None:
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
