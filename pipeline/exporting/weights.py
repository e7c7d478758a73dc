"""The head's tensors in a safetensors file, with a header that says how they are used."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from cache.errors import InputError
from pipeline.exporting.written import Written

SUFFIX = ".safetensors"


def check(*, with_backbone: bool) -> None:
    """Raise InputError for a backbone: weights alone are no program."""
    if with_backbone:
        raise InputError(
            "--format safetensors holds the head's weights, which are no program: leave out "
            "--with-backbone, or use --format onnx or torchscript"
        )


def write(module: nn.Module, example: Tensor, name: str, facts: Mapping[str, str]) -> Written:
    """Write the transform's and the head's tensors, all float32, as `Head` names them.

    Args:
        module: a `pipeline.exporting.module.Head`.
        example: not used: the tensors have no batch.
        name: of the input, as the card calls it.
        facts: texts that the file itself shall carry, by name.
    """
    tensors = {each: tensor.contiguous() for each, tensor in module.state_dict().items()}
    use = _formula(tensors)
    content = save(tensors, metadata={"use": use, **facts})
    read = safetensors.numpy.load(content)

    def run(inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        rows = inputs
        if "power" in read:
            rows = np.sign(rows) * np.abs(rows) ** read["power"]
        rows = (rows - read["mean"]) / read["scale"]
        if "matrix" in read:
            rows = rows @ read["matrix"]
        affine = rows @ read["weight"] + read["bias"]
        lengths = np.linalg.norm(affine, axis=1, keepdims=True).clip(1e-12)
        return np.asarray(affine / lengths, np.float32)

    shapes = {each: list(tensor.shape) for each, tensor in sorted(tensors.items())}
    return Written(content, run, {"tensors": shapes, "use": use})


def _formula(tensors: Mapping[str, Tensor]) -> str:
    """Say in words of arithmetic what is done with the tensors."""
    power = "sign(features) * |features| ** power" if "power" in tensors else "features"
    matrix = " @ matrix" if "matrix" in tensors else ""
    affine = f"(({power} - mean) / scale){matrix} @ weight + bias"
    return f"e = {affine}; embeddings = e / |e|, row by row"
