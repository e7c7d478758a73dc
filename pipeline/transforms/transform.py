"""A fitted transform: raw features in, what heads learn from out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Transform:
    """What is done to raw features; rows do not see each other.

    Attributes:
        power: () float32, see `raised`; None = values stay as they are.
        mean: (F,) float32 of the training rows, after the power.
        scale: () or (F,) float32, above 0: what the rest is divided by.
        matrix: (F, F') float32 that this is multiplied by; None leaves it out.
    """

    power: Tensor | None
    mean: Tensor
    scale: Tensor
    matrix: Tensor | None

    def __call__(self, features: Tensor) -> Tensor:
        """Transform (N, F) features of any float type: (N, F') float32 of unit mean square.

        Powers and the product with the matrix are computed in float64 and rounded once, so that a
        row's result does not hang on how many rows stand beside it: rows that are read from the
        disk a few at a time come out like resident ones. (MPS has no float64.)
        """
        rows = (powered(features, self.power) - self.mean).div_(self.scale)
        return rows if self.matrix is None else (_wide(rows) @ _wide(self.matrix)).float()

    def tensors(self) -> dict[str, Tensor]:
        """Name what there is, on the CPU, as a run's file does."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: tensor.cpu() for name, tensor in found.items() if tensor is not None}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor]) -> Transform:
        """Take the transform out of a run's tensors; the first runs have mean and scale only."""
        power, matrix = tensors.get("power"), tensors.get("matrix")
        return cls(power, tensors["mean"], tensors["scale"], matrix)


# Of a run's tensors, in the order in which they are used.
NAMES = tuple(each.name for each in fields(Transform))


def powered(features: Tensor, power: Tensor | None) -> Tensor:
    """Raise (N, F) features of any float type, if there is a power, to float32."""
    return features.float() if power is None else raised(_wide(features), power).float()


def raised(features: Tensor, power: Tensor) -> Tensor:
    """Raise the size of every value to a power: sign(x) |x|^p."""
    return torch.sign(features) * features.abs() ** power


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.device.type == "mps" else values.double()
