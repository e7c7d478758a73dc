"""Label lists as others publish them: by path, by id, or by the order of the rows.

- text files with lines `path,label`, split at the last comma (paths may hold commas and spaces), or
  at the last space where there is no comma; a first line `path,label` or `id,label` is a header;
- Parquet files with the columns id and label, or path and label;
- `.npy` and `.pt` files with one label a row, or with several such arrays under keys, as the human
  labels of CIFAR-N (Wei et al., ICLR 2022, arXiv 2110.12088) come.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cache.errors import InputError

_CLEAN = "clean_label"  # beside the human labels of CIFAR-N stand the right ones
_ARRAYS = (".npy", ".pt", ".pth")


class LabelList(NamedTuple):
    """A label list as it is written.

    Attributes:
        labels: one text for each entry.
        keys: ids or paths of the entries; None = in the order of the rows.
        is_by_id: whether the keys are ids.
        clean: the right labels, where the file has them beside.
    """

    labels: list[str]
    keys: list[str] | None = None
    is_by_id: bool = False
    clean: list[str] | None = None


def read_list(path: Path, key: str | None) -> LabelList:
    """Read a label list.

    Args:
        path: a text, Parquet, .npy or .pt file.
        key: which array of a .npy or .pt file; None where there is one.

    Raises:
        InputError: the file is missing, damaged or of another form, or the key does not fit.
    """
    if not path.is_file():
        raise InputError(f"there is no label list {path}: expected a text, .parquet, .npy or .pt")
    kind = path.suffix.lower()
    if key is not None and kind not in _ARRAYS:
        raise InputError(f"{path} has no keys: leave key={key} out, it is for .npy and .pt files")
    if kind in _ARRAYS:
        return _read_arrays(path, key)
    return _read_parquet(path) if kind == ".parquet" else _read_text(path)


def _read_text(path: Path) -> LabelList:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a UTF-8 list of lines path,label: {error}") from error
    entries = [_entry(path, at, line) for at, line in enumerate(lines, start=1) if line.strip()]
    has_header = bool(entries) and entries[0] in (("path", "label"), ("id", "label"))
    is_by_id = has_header and entries[0][0] == "id"
    keys, labels = [list(column) for column in zip(*entries[has_header:], strict=True)] or ([], [])
    return LabelList(labels, keys, is_by_id)


def _entry(path: Path, number: int, line: str) -> tuple[str, str]:
    key, _, label = line.rpartition("," if "," in line else " ")
    if not key.strip() or not label.strip():
        raise InputError(f"line {number} of {path} is {line[:60]!r}: expected path,label")
    return key.strip(), label.strip()


def _read_parquet(path: Path) -> LabelList:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            key = "id" if "id" in names else "path"
            if missing := [name for name in (key, "label") if name not in names]:
                raise InputError(
                    f"{path} has no column {missing[0]!r}, its columns are "
                    f"{', '.join(map(repr, names))}: expected id (or path) and label"
                )
            table = file.read(columns=[key, "label"])
            columns = table.cast(pa.schema([(key, pa.string()), ("label", pa.string())]))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not a Parquet table of texts or numbers: {reason}") from error
    keys, labels = columns[key].to_pylist(), columns["label"].to_pylist()
    if None in keys or None in labels:
        raise InputError(f"{path} has empty cells: expected an id and a label in each row")
    return LabelList(labels, keys, key == "id")


def _read_arrays(path: Path, key: str | None) -> LabelList:
    found = _load(path)
    if not isinstance(found, dict):
        if key is not None:
            raise InputError(f"{path} holds one array and no keys: leave key={key} out")
        return LabelList(_texts(path, found))
    names = [str(name) for name in found]
    if key is None and len(names) == 1:
        key = names[0]
    if key not in names:
        said = "which one is not said" if key is None else f"none of them is {key!r}"
        raise InputError(
            f"{path} holds the arrays {', '.join(names)} and {said}: add key=NAME to the spec"
        )
    by_name = {str(name): value for name, value in found.items()}
    clean = by_name.get(_CLEAN)
    return LabelList(
        _texts(path, by_name[key]), clean=None if clean is None else _texts(path, clean)
    )


def _texts(path: Path, values: Any) -> list[str]:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iuU":
        raise InputError(
            f"{path} holds an array of {array.ndim} dimensions and type {array.dtype}: expected "
            "one whole number or name for each row"
        )
    return [str(value) for value in array.tolist()]


def _load(path: Path) -> Any:
    """Load arrays without running code that a pickle may hold."""
    try:
        return _load_torch(path) if path.suffix.lower() != ".npy" else _load_numpy(path)
    except (OSError, ValueError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path} cannot be read as arrays of labels ({reason})") from error


def _load_torch(path: Path) -> Any:
    import torch

    dtypes = [type(np.dtype(name)) for name in ("int64", "int32", "int16", "uint8", "U1")]
    parts: list[Any] = [np.ndarray, np.dtype, _reconstruct(), *dtypes]
    with torch.serialization.safe_globals(parts):
        return torch.load(path, map_location="cpu", weights_only=True)


def _reconstruct() -> Callable[..., Any]:
    """Find the function by which numpy's pickles make an array."""
    made: Any = np.zeros(0).__reduce__()[0]
    found: Callable[..., Any] = made
    return found


def _load_numpy(path: Path) -> Any:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
        _, _, dtype = read[version[0]](file)
        if dtype.hasobject:
            found = _ArraysOnly(file).load()
            return found.item() if isinstance(found, np.ndarray) and found.ndim == 0 else found
    return np.load(path, allow_pickle=False)


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy's arrays and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "numpy" and name in ("ndarray", "dtype", "_reconstruct"):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"{module}.{name} is no array")
