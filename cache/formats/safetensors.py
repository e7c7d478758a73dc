"""safetensors: a tensor for each array.

The format has no texts, so a column of texts is

- class numbers (N,) int64, with the names as a JSON list under the same name in the metadata; or
- for ids and paths, whose texts all differ: their UTF-8 bytes as one uint8 tensor, and where each
  begins as `NAME.offsets` (N + 1,) int64.

A JSON list in the metadata without a tensor of its name is read as a column, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from cache.formats._content import (
    FACTS,
    FEATURES,
    Block,
    Content,
    Form,
    Kind,
    Source,
)
from cache.formats.npy import read_blocks, row_bytes

SUFFIXES = (".safetensors",)
_OFFSETS = ".offsets"
_WHOLE = ("ids", "paths")  # columns that are written as bytes
_WRITTEN = {"float16": "F16", "float32": "F32", "int64": "I64", "uint8": "U8"}
_FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_INTEGERS = {"BOOL": "bool", "U8": "uint8"} | {
    f"{sign[0].upper()}{bits}": f"{sign}{bits}" for sign in ("int", "uint") for bits in (16, 32, 64)
}


@contextmanager
def read(path: Path) -> Iterator[Source]:
    """Open a file; the facts are the entry `dml` of its metadata."""
    with safe_open(path, framework="np") as file:
        metadata = dict(file.metadata() or {})
        facts = metadata.pop(FACTS, None)
        names = {key: found for key, text in metadata.items() if (found := _list(text)) is not None}
        tensors = {key: _form(file.get_slice(key)) for key in file.keys()}  # noqa: SIM118
        arrays = _arrays(tensors, names)

        def blocks(name: str, start: int) -> Iterator[Block]:
            if name + _OFFSETS in tensors:
                offsets = file.get_tensor(name + _OFFSETS)
                yield _split(file.get_tensor(name), offsets)[start:]
            elif name not in tensors:
                yield np.array(names[name], object)[start:]
            else:
                for values in _rows(path, name, tensors[name], start):
                    yield _named(values, names[name]) if name in names else values

        yield Source(path, arrays, blocks, facts)


def write(path: Path, content: Content) -> None:
    """Write the features as they come, then the columns, and at last the header once more."""
    columns, names = _encoded(content.columns)
    with path.open("wb") as file:
        _write_header(file, content, columns, names)
        for block in content.blocks:
            file.write(block.data)
        for values in columns.values():
            file.write(values.data)
        file.seek(0)
        _write_header(file, content, columns, names)  # of the same length, with the right facts


def _write_header(
    file: IO[bytes],
    content: Content,
    columns: Mapping[str, NDArray[Any]],
    names: Mapping[str, str],
) -> None:
    forms = {FEATURES: (content.shape, content.dtype)}
    forms |= {name: (values.shape, values.dtype) for name, values in columns.items()}
    header: dict[str, Any] = {"__metadata__": {FACTS: content.facts(), **names}}
    end = 0
    for name, (shape, dtype) in forms.items():
        start, end = end, end + int(np.prod(shape)) * dtype.itemsize
        header[name] = {
            "dtype": _WRITTEN[dtype.name],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)


def _encoded(
    columns: Mapping[str, Sequence[str]],
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Turn columns of texts into tensors, and lists of names for the metadata."""
    tensors: dict[str, NDArray[Any]] = {}
    names: dict[str, str] = {}
    for column, cells in columns.items():
        if column in _WHOLE:
            texts = [cell.encode() for cell in cells]
            ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
            tensors[column + _OFFSETS] = ends  # wide values come first: they stay aligned
            tensors[column] = np.frombuffer(b"".join(texts), np.uint8)
        else:
            number = {name: at for at, name in enumerate(dict.fromkeys(cells))}
            tensors[column] = np.array([number[cell] for cell in cells], np.int64)
            names[column] = json.dumps(list(number))
    ordered = dict(sorted(tensors.items(), key=lambda item: -item[1].itemsize))
    return ordered, names


def _arrays(tensors: Mapping[str, Form], names: Mapping[str, list[str]]) -> dict[str, Form]:
    """Describe the columns as they are read."""
    arrays: dict[str, Form] = {}
    for name, form in tensors.items():
        if name.endswith(_OFFSETS) and name.removesuffix(_OFFSETS) in tensors:
            continue
        if name + _OFFSETS in tensors:
            arrays[name] = Form((tensors[name + _OFFSETS].shape[0] - 1,), "text", "text")
        elif name in names and form.kind == "integer":
            arrays[name] = Form(form.shape, "text", "text")
        else:
            arrays[name] = form
    return arrays | {
        name: Form((len(cells),), "text", "text")
        for name, cells in names.items()
        if name not in tensors
    }


def _rows(path: Path, name: str, form: Form, start: int) -> Iterator[Block]:
    """Read a tensor without mapping the file, whose pages would all count as memory in use."""
    dtype = np.dtype(ml_dtypes.bfloat16 if form.dtype == "bfloat16" else form.dtype)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        begin, _ = json.loads(file.read(length))[name]["data_offsets"]
        file.seek(8 + length + begin + start * row_bytes(form, dtype))
        yield from read_blocks(file, form, dtype.newbyteorder("<"), start)


def _split(content: NDArray[np.uint8], offsets: NDArray[np.int64]) -> Block:
    """Cut bytes into texts."""
    if offsets[0] != 0 or offsets[-1] != len(content) or (np.diff(offsets) < 0).any():
        raise ValueError("the offsets do not fit the texts")
    whole, places = content.tobytes(), offsets.tolist()
    cells = [whole[a:b] for a, b in pairwise(places)]
    return np.array(cells, object)


def _named(numbers: NDArray[np.integer], names: list[str]) -> Block:
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(names):
        raise ValueError("a number has no name in the metadata")
    named: Block = np.array(names, object)[numbers]
    return named


def _form(tensor: Any) -> Form:
    code = tensor.get_dtype()
    kind: Kind = "float" if code in _FLOATS else "integer" if code in _INTEGERS else "other"
    return Form(tuple(tensor.get_shape()), (_FLOATS | _INTEGERS).get(code, code), kind)


def _list(text: str) -> list[str] | None:
    """Read a JSON list of texts or whole numbers; None for anything else."""
    try:
        cells = json.loads(text)
    except ValueError:
        return None
    is_column = isinstance(cells, list) and all(isinstance(cell, str | int) for cell in cells)
    return [str(cell) for cell in cells] if is_column else None
