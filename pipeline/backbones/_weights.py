"""Reading weights from files, and saying clearly when they do not fit or cannot be had."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cache.errors import DmlError, InputError

_TORCH_SUFFIXES = (".pth", ".pt")
_WRAPPERS = ("state_dict", "model")
_SILENCE_SECONDS = 10.0


class WeightsUnavailableError(DmlError, OSError):
    """The published weights are not on this disk and cannot be fetched."""


def load_weights(network: nn.Module, file: Path, *, classifier: Sequence[str]) -> None:
    """Copy the weights of a file into a network.

    Args:
        network: the network, with or without its classifier.
        file: a .safetensors, .pth or .pt file with a state dict of the same names.
        classifier: names of the network's classifier layers: what the file holds for them is
            not needed and may have any shape.

    Raises:
        InputError: the file cannot be read, or is of another architecture.
    """
    prefixes = tuple(f"{layer}." for layer in classifier)
    found = {k: v for k, v in read_weights(file).items() if not k.startswith(prefixes)}
    wanted = {k: v for k, v in network.state_dict().items() if not k.startswith(prefixes)}
    shared = found.keys() & wanted.keys()
    _refuse(file, "lacks", [key for key in wanted if key not in shared])
    _refuse(file, "has the unknown", [key for key in found if key not in shared])
    _refuse(
        file,
        "has another shape of",
        [key for key in wanted if found[key].shape != wanted[key].shape],
    )
    network.load_state_dict(found, strict=False)


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read a state dict; `{"state_dict": ...}`, `{"model": ...}` and `module.` are unpacked.

    Raises:
        InputError: the file is missing, damaged, of another kind, or holds no tensors.
    """
    if not file.is_file():
        raise InputError(f"the weights {file} do not exist: expected a file")
    if file.suffix not in (".safetensors", *_TORCH_SUFFIXES):
        raise InputError(f"the weights {file} are not a .safetensors, .pth or .pt file")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, BadZipFile, EOFError, RuntimeError) as error:
        raise InputError(
            f"the weights {file} cannot be read: the file is damaged, or holds more than tensors; "
            "save the state dict alone and try again"
        ) from error
    return _unpacked(content, file)


def _unpacked(content: object, file: Path) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"the weights {file} hold no state dict: expected names with tensors")
    if not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"the weights {file} hold more than tensors: save the state dict alone")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _refuse(file: Path, what: str, keys: Sequence[str]) -> None:
    if keys:
        shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
        raise InputError(
            f"the weights {file} are of another architecture: the file {what} {shown}: name the "
            "backbone that they were made for"
        )


@contextmanager
def fetching(name: str) -> Iterator[None]:
    """Turn a failed download into one line, soon even if the network just keeps silent.

    Raises:
        WeightsUnavailableError: instead of what the body raised.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_SECONDS)
    try:
        yield
    # Hub libraries change their network library, and so their exceptions, between versions.
    except Exception as error:
        raise WeightsUnavailableError(
            f"the weights of {name} are not on this disk and could not be downloaded "
            f"({type(error).__name__}): give a file with --weights FILE, or take the packaged "
            "backbone efficientnet_lite0"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
