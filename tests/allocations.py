"""Notes the largest tensor that anything makes, for the tests of how memory grows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class Largest(TorchDispatchMode):
    """Notes the most that any operation has made room for; views make room for none.

    Attributes:
        bytes: of the tensor that took most.
        elements: of the tensor that had most.
        operation: what made the one that took most.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.elements, self.operation = 0, 0, ""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler, some seconds

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = {_storage_of(each) for each in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for made in _tensors(result):
            if _storage_of(made) not in given:
                self._note(made, str(func))
        return result

    def _note(self, made: Tensor, operation: str) -> None:
        size = made.untyped_storage().nbytes()
        self.elements = max(self.elements, size // made.itemsize)
        if size > self.bytes:
            self.bytes, self.operation = size, operation


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_iter(tree) if isinstance(leaf, Tensor)]


def _storage_of(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
