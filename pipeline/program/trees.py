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


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Map a function of one run over stacked trees with a loop, where `vmap` cannot."""

    def mapped(*trees: Any) -> Any:
        runs = len(next(iter(flatten(trees).values())))
        return stack([function(*take(trees, run)) for run in range(runs)])

    return mapped


def _map(function: Callable[..., Tensor], *trees: Any) -> Any:
    first = trees[0]
    if isinstance(first, Tensor):
        return function(*trees)
    if isinstance(first, Mapping):
        return {key: _map(function, *(tree[key] for tree in trees)) for key in first}
    parts = [_map(function, *each) for each in zip(*trees, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
