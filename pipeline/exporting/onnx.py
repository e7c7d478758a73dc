"""ONNX files, by torch's exporter; read again by onnxruntime."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache.errors import InputError
from pipeline.exporting.written import Written

SUFFIX = ".onnx"
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_MOST_BYTES = 2**31 - 1  # of a message of Protocol Buffers, which an ONNX file is


def check(*, with_backbone: bool) -> None:
    """Raise InputError unless the libraries are installed; a backbone makes no difference."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"--format onnx needs {', '.join(missing)}: pip install 'dml[onnx]', or use --format "
            "torchscript or safetensors"
        )


def write(module: nn.Module, example: Tensor, name: str, facts: Mapping[str, str]) -> Written:
    """Write a module as ONNX with a batch of any size.

    Args:
        module: in evaluation mode, on the CPU; one input, one output.
        example: an input of at least two rows.
        name: of the input; the output is named embeddings.
        facts: texts that the file itself shall carry, by name.

    Raises:
        InputError: torch cannot export the module, or the file would be too large.
    """
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the exporter does by itself
        try:
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=[name],
                output_names=["embeddings"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        # Each operator that it does not know fails in its own way.
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"torch cannot write this model as ONNX ({reason}): use --format torchscript"
            ) from error
    model = program.model_proto  # type: ignore[union-attr]
    if model.ByteSize() > _MOST_BYTES:
        raise InputError(
            f"the model has {model.ByteSize():,} bytes, an ONNX file at most {_MOST_BYTES:,}: use "
            "--format torchscript"
        )
    for node in model.graph.node:  # the exporter's notes name files of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    opset = next(each.version for each in model.opset_import if not each.domain)
    return Written(content, _Session(content), {"opset": opset})


class _Session:
    """An ONNX file in onnxruntime, on the CPU."""

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self._name = self._session.get_inputs()[0].name

    def __call__(self, inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        embeddings: NDArray[np.float32] = self._session.run(None, {self._name: inputs})[0]
        return embeddings
