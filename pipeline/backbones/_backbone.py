"""What every backbone offers, whatever library it comes from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.backbones._folding import folded
from pipeline.extraction.pictures.images import Transform


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A frozen network with the transform and the pooling that belong to it.

    Attributes:
        name: the name it is loaded by.
        network: (B, 3, H, W) float32, normalised -> (B, F), or (B, P, F) if there are several
            pools; in evaluation mode, no gradients.
        transform: how a picture becomes the network's input.
        pool: how the last feature map becomes one vector, or several: "avg" or "avg,max".
        num_features: length F of one feature vector.
        weights_sha256: `sha256_of_weights` of the network without classifier.
    """

    name: str
    network: nn.Module
    transform: Transform
    pool: str
    num_features: int
    weights_sha256: str

    @property
    def pools(self) -> tuple[str, ...]:
        """The P pools, one vector each."""
        return tuple(self.pool.split(","))

    def embed(self, images: Tensor) -> Tensor:
        """Compute the features, all pools in one pass.

        Args:
            images: (B, 3, H, W) float32, normalised, on the network's device.

        Returns:
            (B, P, F) float32.
        """
        with torch.inference_mode():
            features: Tensor = self.network(images)
            return features.float().reshape(len(images), len(self.pools), self.num_features)


def freeze(
    *, name: str, model: nn.Module, network: nn.Module, transform: Transform, pool: str
) -> Backbone:
    """Freeze a network, fold its batch normalisation, try it on one picture and note the facts.

    Args:
        name: the name of the backbone.
        model: the part of the network that holds all weights, whatever the pooling around it.
        network: see `Backbone`.
        transform: see `Backbone`.
        pool: see `Backbone`.
    """
    side = transform.crop
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    weights_sha256 = sha256_of_weights(model)
    network = folded(network.eval().requires_grad_(False), image)
    with torch.inference_mode():
        features = network(image)  # (1, F) or (1, P, F)
    return Backbone(
        name=name,
        network=network,
        transform=transform,
        pool=pool,
        num_features=features.shape[-1],
        weights_sha256=weights_sha256,
    )


def sha256_of_weights(network: nn.Module) -> str:
    """Return the hex sha256 over name, dtype, shape and values of all weights, by name.

    So the format of the file that they came from makes no difference.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
