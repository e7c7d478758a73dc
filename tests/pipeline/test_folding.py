"""Folded batch normalisation: the same features, and nothing folded that does not fit."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from pipeline.backbones._folding import folded

IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def settled(network: nn.Module) -> nn.Module:
    """Give every norm statistics and weights that change what passes it."""
    generator = torch.Generator().manual_seed(1)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
                assert tensor is not None
                values = torch.rand(tensor.shape, generator=generator)
                tensor.data.copy_(values.add(0.5))
    return network.eval().requires_grad_(False)


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    ("network", "left"),
    [
        (models.resnet18(), 0),
        (timm.create_model("tf_efficientnet_lite0"), 0),  # its norms hold the activations
        (models.densenet121(), 62),  # many of its norms follow a concatenation
    ],
)
def test_folded_networks_give_the_same_features_and_the_given_one_stays(
    network: nn.Module, left: int
) -> None:
    network = settled(network)
    before, all_norms = network(IMAGE), norms(network)
    candidate = folded(network, IMAGE)
    assert candidate is not network
    assert norms(candidate) == left
    assert norms(network) == all_norms
    assert torch.equal(network(IMAGE), before)
    assert (candidate(IMAGE) - before).abs().max() <= 1e-4 * before.abs().max()
    assert not any(parameter.requires_grad for parameter in candidate.parameters())


class Twice(nn.Module):
    """Its convolution's map is used with and without the norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        made = self.conv(images)
        return (made + self.norm(made)).mean(dim=(2, 3))


class Shared(Twice):
    """It normalises with one norm after two convolutions."""

    def forward(self, images: Tensor) -> Tensor:
        first, second = self.conv(images), self.conv(images.flip(3))
        return (self.norm(first) + self.norm(second)).mean(dim=(2, 3))


@pytest.mark.parametrize(
    "network",
    [
        Twice(),
        Shared(),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten()),
        nn.Sequential(nn.Flatten(), nn.LazyLinear(4)),
    ],
)
def test_what_cannot_be_folded_stays_as_it_is(network: nn.Module) -> None:
    network(IMAGE)  # gives a lazy layer its shape
    network = settled(network)
    assert folded(network, IMAGE) is network
