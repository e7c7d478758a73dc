"""What is exported: the head, alone or behind the backbone, as one module in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from cache.errors import InputError
from pipeline.backbones._backbone import Backbone

Epoch = Literal["last", "selected"]
_PARTS = {"last": "head", "selected": "selected"}  # how a run's file names them
_CENTRING = ("mean", "scale")


def head_of(tensors: Mapping[str, Tensor], epoch: Epoch) -> dict[str, Tensor]:
    """Pick mean (F,), scale (), weight (F, D) and bias (D,) out of a run's tensors.

    Raises:
        InputError: the run has no head, or no selected epoch.
    """
    prefix = f"{_PARTS[epoch]}."
    head = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    if not head and epoch == "selected":
        raise InputError(
            "the run has selected no epoch: use --epoch last, or train with --validation"
        )
    if not head:
        raise InputError("the run has trained no head: export a run of another --loss than none")
    return {name: tensors[name].float() for name in _CENTRING} | head


class Head(nn.Module):
    """Features (B, F) float32 -> embeddings (B, D) of unit norm: centring, head, normalisation.

    The arithmetic of `pipeline.program.heads`, in operations that every format knows.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `head_of` gave."""
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, F) to (B, D)."""
        centred = (features - self.mean) / self.scale
        return functional.normalize(centred @ self.weight + self.bias, dim=1)


class WithBackbone(nn.Module):
    """Pixels (B, 3, H, W) uint8, resized and cropped -> embeddings (B, D) of unit norm.

    Scaling to [0, 1] and normalising are inside; decoding, resizing and cropping are outside.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, head: Head) -> None:
        """Take a backbone with one pool, and the head."""
        super().__init__()
        self.network = backbone.network
        self.head = head
        for name in ("mean", "std"):
            value = head.mean.new_tensor(getattr(backbone.transform, name))
            self.register_buffer(name, value.reshape(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, D)."""
        # No length of the batch may become a constant of the graph: so no `len`, and no reshape.
        embeddings: Tensor = self.head(self.network((pixels.float() / 255 - self.mean) / self.std))
        return embeddings
