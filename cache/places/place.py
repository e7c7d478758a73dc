"""Where a store lies: a folder on this machine, or a URL that fsspec knows.

Everything that a store reads or writes goes through the few operations of a `Place`.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Protocol, TypeAlias

from cache.places.durable import make_folders, replace_file, sync_folder, sync_tree
from cache.places.urls import Location, located

Part: TypeAlias = tuple[int, memoryview]  # where it starts in the file, and what to fill with it


class Place(Protocol):
    """A folder that holds one store; names are relative and use `/`.

    Attributes:
        path: for people, and to find the place again: an absolute `Path`, or a URL as text.
    """

    @property
    def path(self) -> Location:
        """Return the folder as a path or a URL."""

    def read(self, name: str) -> bytes:
        """Return the content of a file; raises FileNotFoundError."""

    def read_parts(self, name: str, parts: Sequence[Part], *, size: int | None = None) -> None:
        """Fill memory with parts of one file.

        Args:
            name: of the file.
            parts: where each of them starts in the file, and where it goes.
            size: number of bytes that the file must have; None = any.

        Raises:
            FileNotFoundError: there is no such file.
            EOFError: it is too short, or has not the size.
        """

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Give a file new content in one step; on return it is durable."""

    def claim(self, name: str, content: bytes) -> bool:
        """Make a file that only one of several processes can make; False if it is there already."""

    def create(self, files: Mapping[str, bytes]) -> bool:
        """Make the folder with these files, the last one last; False if it is there already."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def names(self, folder: str) -> list[str]:
        """List the files that lie in a folder, sorted, without the folder's name."""

    def is_free(self) -> bool:
        """Tell whether there is nothing at this place yet."""

    def size_on_disk(self) -> int:
        """Return the number of bytes of all files."""


class LocalPlace:
    """A folder on this machine."""

    def __init__(self, path: Path) -> None:
        """Take an absolute path; nothing is touched."""
        self._path = path

    @property
    def path(self) -> Path:
        """Return the folder."""
        return self._path

    def __str__(self) -> str:
        """Return the path, for messages."""
        return str(self._path)

    def read(self, name: str) -> bytes:
        """See `Place.read`."""
        return (self._path / name).read_bytes()

    def read_parts(self, name: str, parts: Sequence[Part], *, size: int | None = None) -> None:
        """See `Place.read_parts`."""
        with FileIO(self._path / name) as file:
            if size is not None and os.fstat(file.fileno()).st_size != size:
                raise EOFError
            for start, view in parts:
                file.seek(start)
                _fill(file, view)

    def write(self, name: str, content: bytes | memoryview) -> None:
        """See `Place.write`."""
        file = self._path / name
        make_folders(file.parent)
        replace_file(file, content)

    def claim(self, name: str, content: bytes) -> bool:
        """See `Place.claim`."""
        part = self._path / f".{name}.{uuid.uuid4().hex}.part"
        try:
            part.write_bytes(content)
            os.link(part, self._path / name)  # unlike opening it, with all of its content
        except FileExistsError:
            return False
        finally:
            part.unlink(missing_ok=True)
        return True

    def create(self, files: Mapping[str, bytes]) -> bool:
        """See `Place.create`: made beside its place and moved there in one step."""
        path = self._path
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
        try:
            for name, content in files.items():
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                (part / name).write_bytes(content)
            sync_tree(part)
            try:
                part.rename(path)
            except OSError:
                if path.is_dir() and any(path.iterdir()):
                    return False  # another process was faster
                raise
            sync_folder(path.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return True

    def remove(self, name: str) -> None:
        """See `Place.remove`."""
        (self._path / name).unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        """See `Place.names`."""
        with suppress(FileNotFoundError):
            return sorted(each.name for each in (self._path / folder).iterdir() if each.is_file())
        return []

    def is_free(self) -> bool:
        """See `Place.is_free`."""
        if not os.path.lexists(self._path):
            return True
        return self._path.is_dir() and not any(self._path.iterdir())

    def size_on_disk(self) -> int:
        """See `Place.size_on_disk`."""
        return sum(_sizes(self._path))


def place_of(path: str | Path) -> Place:
    """Return the place that a path or URL names; nothing is looked at yet.

    Raises:
        InputError: the URL's protocol is unknown, or its package is not installed.
    """
    place = located(path)
    if isinstance(place, str):
        from cache.places.remote import RemotePlace

        return RemotePlace(place)
    return LocalPlace(place.resolve())


def _fill(file: FileIO, view: memoryview) -> None:
    """Read until `view` is full; the system may hand over less than it was asked for."""
    while view:
        if not (count := file.readinto(view)):
            raise EOFError
        view = view[count:]


def _sizes(folder: Path) -> Iterable[int]:
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # a writer may be at work
                yield os.path.getsize(os.path.join(place, name))
