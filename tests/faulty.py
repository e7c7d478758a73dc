"""A file system at `faulty://` that fails as it is told to, as networks and servers do."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

Fault = Callable[[str, str], Exception | None]


class FaultyFileSystem(MemoryFileSystem):
    """Memory with a way there that fails.

    Attributes:
        before: (operation, path) -> the error instead of the operation.
        after: (operation, path) -> the error although the operation was done.
        calls: all (operation, path), failed ones too.
    """

    protocol = "faulty"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    before: ClassVar[Fault]
    after: ClassVar[Fault]
    calls: ClassVar[list[tuple[str, str]]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.replace("faulty://", "memory://", 1)))

    @classmethod
    def reset(cls) -> None:
        """Forget everything; nothing fails."""
        cls.store.clear()
        cls.pseudo_dirs[:] = [""]
        cls.calls.clear()
        cls.before = cls.after = staticmethod(lambda operation, path: None)

    @classmethod
    def fail(cls, *, before: Fault | None = None, after: Fault | None = None) -> None:
        """Fail from now on."""
        nothing: Fault = lambda operation, path: None  # noqa: E731
        cls.before, cls.after = staticmethod(before or nothing), staticmethod(after or nothing)

    def _do(self, operation: str, path: str, call: Callable[[], Any]) -> Any:
        self.calls.append((operation, path))
        if error := type(self).before(operation, path):
            raise error
        result = call()
        if error := type(self).after(operation, path):
            raise error
        return result

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> Any:
        return self._do(
            "read", path, lambda: super(FaultyFileSystem, self).cat_file(path, start, end)
        )

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        self._do("write", path, lambda: super(FaultyFileSystem, self).pipe_file(path, value, mode))

    def ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        return self._do("list", path, lambda: super(FaultyFileSystem, self).ls(path, detail))

    def info(self, path: str, **_: Any) -> Any:
        return self._do("info", path, lambda: super(FaultyFileSystem, self).info(path))

    def rm_file(self, path: str) -> None:
        self._do("remove", path, lambda: MemoryFileSystem.rm_file(self, path))


fsspec.register_implementation("faulty", FaultyFileSystem, clobber=True)


def sometimes(error: Exception, *, rate: float, seed: int) -> Fault:
    """Fail at random moments."""
    generator = random.Random(seed)
    return lambda operation, path: error if generator.random() < rate else None


def after(count: int, error: Exception, what: str = "") -> Callable[[str, str], Exception | None]:
    """Fail from the n-th call on."""
    seen: list[str] = []

    def fault(operation: str, path: str) -> Exception | None:
        seen.extend([path] if what in operation else [])
        return error if len(seen) > count else None

    return fault
