"""PyTorch's .pt: a dict of tensors, lists of texts or whole numbers; or one tensor, the features.

Reading maps the file into memory and unpickles nothing but tensors and plain values. `torch.save`
wants a whole tensor: an export writes the features to a scratch file beside first and maps that, so
memory stays flat, but twice the room is needed on the disk while it runs.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from cache.errors import InputError
from cache.formats._content import FACTS, FEATURES, Block, Content, Form, Kind, Source, block_rows

if TYPE_CHECKING:
    import torch

SUFFIXES = (".pt", ".pth")


@contextmanager
def read(path: Path) -> Iterator[Source]:
    """Open a file; the facts are the text `dml` of its dict."""
    held = _load(path)
    facts = held.pop(FACTS, None)
    arrays = {name: _form(values) for name, values in held.items()}

    def blocks(name: str, start: int) -> Iterator[Block]:
        step = block_rows(arrays[name])
        for first in range(start, arrays[name].shape[0], step):
            yield _array(held[name][first : first + step])

    yield Source(path, arrays, blocks, facts if isinstance(facts, str) else None)


def write(path: Path, content: Content) -> None:
    """Write the features through a scratch file, the columns as lists of texts."""
    import torch

    scratch = path.with_name("scratch")
    with scratch.open("wb") as file:
        for block in content.blocks:
            file.write(block.data)
    dtype = torch.from_numpy(np.empty(0, content.dtype)).dtype
    size = content.shape[0] * content.shape[1]
    features = torch.from_file(str(scratch), shared=False, size=size, dtype=dtype)
    columns = {name: list(cells) for name, cells in content.columns.items()}
    held = {FEATURES: features.view(content.shape), **columns, FACTS: content.facts()}
    try:
        torch.save(held, path)
    except RuntimeError as error:  # how its zip writer tells a full disk
        raise OSError(str(error)) from error
    scratch.unlink()


def _load(path: Path) -> dict[str, Any]:
    import torch

    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds Python objects, which could hide a program: save a dict of tensors and "
            "of lists of texts or whole numbers"
        ) from error
    if isinstance(held, torch.Tensor):
        return {FEATURES: held}
    if not isinstance(held, Mapping):
        raise InputError(f"{path} holds a {type(held).__name__}, expected a dict of tensors")
    return {str(name): values for name, values in held.items()}


def _form(values: Any) -> Form:
    import torch

    if isinstance(values, torch.Tensor):
        name = str(values.dtype).removeprefix("torch.")
        is_plain = values.layout == torch.strided and not values.dtype.is_complex
        kind: Kind = "float" if values.is_floating_point() else "integer"
        return Form(tuple(values.shape), name, kind if is_plain else "other")
    if isinstance(values, list | tuple):
        if all(isinstance(cell, str) for cell in values):
            return Form((len(values),), "text", "text")
        kind = "integer" if all(isinstance(cell, int) for cell in values) else "other"
        return Form((len(values),), "list", kind)
    return Form((), type(values).__name__, "other")


def _array(values: torch.Tensor | list[Any] | tuple[Any, ...]) -> Block:
    if isinstance(values, list | tuple):
        return np.array(values, object)
    import torch

    tensor = values.detach().contiguous()
    if tensor.dtype == torch.bfloat16:  # NumPy knows it only by a package
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    found: Block = tensor.numpy()
    return found
