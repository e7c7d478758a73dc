"""The head's tensors in a safetensors file, with a header that says how they are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
        projected = _projected(rows, read)
        lengths = np.linalg.norm(projected, axis=1, keepdims=True).clip(1e-12)
        return np.asarray(projected / lengths, np.float32)

    shapes = {each: list(tensor.shape) for each, tensor in sorted(tensors.items())}
    return Written(content, run, {"tensors": shapes, "use": use})


def _projected(rows: NDArray[Any], head: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Apply a head to transformed rows (B, F): (B, D), its length as it comes."""
    before, beside = rows, np.float32(0)
    if "hidden_weight" in head:
        hidden = np.maximum(rows @ head["hidden_weight"] + head["hidden_bias"], 0)  # (B, H)
        if "residual" in head:
            beside = hidden @ head["residual"]
        else:
            before = hidden
    projected: NDArray[Any] = before @ head["weight"] + head["bias"] + beside
    return projected


def _formula(tensors: Mapping[str, Tensor]) -> str:
    """Say in words of arithmetic what is done with the tensors."""
    power = "sign(features) * |features| ** power" if "power" in tensors else "features"
    matrix = " @ matrix" if "matrix" in tensors else ""
    rows, given = f"(({power} - mean) / scale){matrix}", ""
    e = f"{rows} @ weight + bias"
    if "hidden_weight" in tensors:
        given = f"x = {rows}; h = max(x @ hidden_weight + hidden_bias, 0); "
        e = "x @ weight + bias + h @ residual" if "residual" in tensors else "h @ weight + bias"
    return f"{given}e = {e}; embeddings = e / |e|, row by row"
