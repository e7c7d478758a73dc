"""TorchScript files: the traced module, for programs that have libtorch and no Python."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache.errors import InputError
from pipeline.exporting.written import Written

SUFFIX = ".pt"


def check(*, with_backbone: bool) -> None:
    """Accept everything: TorchScript comes with torch."""


def write(module: nn.Module, example: Tensor, name: str, facts: Mapping[str, str]) -> Written:
    """Trace a module; its input is given by place, so the name is not used.

    Args:
        module: in evaluation mode, on the CPU; one input, one output.
        example: an input of at least two rows.
        name: of the input, as the card calls it.
        facts: texts that the file itself shall carry, by name.

    Raises:
        InputError: torch cannot trace the module.
    """
    buffer = io.BytesIO()
    with _quiet():
        try:
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                module, example, check_trace=False
            )
        except (RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"torch cannot trace this model ({reason}): use --format onnx"
            ) from error
        torch.jit.save(traced, buffer, _extra_files=dict(facts))
        content = buffer.getvalue()
        loaded = torch.jit.load(io.BytesIO(content))  # type: ignore[no-untyped-call]

    def run(inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        with torch.inference_mode():
            embeddings: NDArray[np.float32] = loaded(torch.from_numpy(inputs)).numpy()
        return embeddings

    return Written(content, run, {"method": "trace", "extra_files": sorted(facts)})


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's advice to itself: it recommends torch.export, which needs Python to run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
