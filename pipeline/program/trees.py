"""Trees of tensors: dicts, tuples and named tuples of them, over runs and by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

Tree = TypeVar("Tree")
_SEPARATOR = "/"


def stack(trees: Sequence[Tree]) -> Tree:
    """Stack the trees of R runs along a new leading axis."""
    stacked: Tree = _map(lambda *leaves: torch.stack(leaves), *trees)
    return stacked


def take(tree: Tree, run: int) -> Tree:
    """Take one run out of a stacked tree."""
    taken: Tree = _map(lambda leaf: leaf[run], tree)
    return taken


def copy(to: Any, tree: Any) -> None:
    """Write the leaves of a tree into those of another; what is the same memory stays."""
    for own, given in zip(flatten(to).values(), flatten(tree).values(), strict=True):
        if own.data_ptr() != given.data_ptr():
            own.copy_(given)


def flatten(tree: Any, name: str = "") -> dict[str, Tensor]:
    """List the leaves by name: keys, fields and places joined by slashes."""
    if isinstance(tree, Tensor):
        return {name: tree}
    parts: Mapping[str, Any]
    if isinstance(tree, Mapping):
        parts = tree
    elif hasattr(tree, "_asdict"):
        parts = tree._asdict()
    else:
        parts = {str(place): part for place, part in enumerate(tree)}
    prefix = name + _SEPARATOR if name else ""
    return {
        path: leaf
        for key, part in parts.items()
        for path, leaf in flatten(part, prefix + key).items()
    }


def nest(leaves: Mapping[str, Tensor]) -> dict[str, Any]:
    """Put named leaves back into nested dicts; tuples come back as dicts too."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *path, last = name.split(_SEPARATOR)
        branch = tree
        for key in path:
            branch = branch.setdefault(key, {})
        branch[last] = leaf
    return tree


def _map(function: Callable[..., Tensor], *trees: Any) -> Any:
    first = trees[0]
    if isinstance(first, Tensor):
        return function(*trees)
    if isinstance(first, Mapping):
        return {key: _map(function, *(tree[key] for tree in trees)) for key in first}
    parts = [_map(function, *each) for each in zip(*trees, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
