"""What is exported: the head, alone or behind the backbone, as one module in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from cache.errors import InputError
from pipeline.backbones._backbone import Backbone
from pipeline.program import heads
from pipeline.transforms.transform import NAMES, raised

Epoch = Literal["last", "selected"]
_PARTS = {"last": "head", "selected": "selected"}  # how a run's file names them


def head_of(tensors: Mapping[str, Tensor], epoch: Epoch) -> dict[str, Tensor]:
    """Pick the transform and the head, as `pipeline.program.heads` has it, out of a run's tensors.

    The transform is mean (F,), scale () or (F,), and maybe power () and matrix (F, F').

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
    return {name: tensors[name].float() for name in NAMES if name in tensors} | head


class Head(nn.Module):
    """Features (B, F) float32 -> embeddings (B, D) of unit norm: transform, head, normalisation.

    The arithmetic of `pipeline.transforms` and `pipeline.program.heads`, all of it in float32.
    """

    power: Tensor | None
    mean: Tensor
    scale: Tensor
    matrix: Tensor | None
    weight: Tensor
    bias: Tensor
    hidden_weight: Tensor | None
    hidden_bias: Tensor | None
    residual: Tensor | None

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `head_of` gave."""
        super().__init__()
        for name in (*NAMES, *heads.NAMES):
            self.register_buffer(name, tensors.get(name))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, F) to (B, D)."""
        rows = features if self.power is None else raised(features, self.power)
        rows = (rows - self.mean) / self.scale
        rows = rows if self.matrix is None else rows @ self.matrix
        tensors = {name: getattr(self, name) for name in heads.NAMES}
        head = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        return functional.normalize(heads.project(head, rows), dim=1)


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
